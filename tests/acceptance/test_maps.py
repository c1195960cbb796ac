"""Maps and loops of real calls, over REST, on both databases; what really ran says a ledger."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.processes import Process
from tests.acceptance.serving import Served, connected, process
from tests.ledger import Effect, Ledger

ITEMS = 30


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as ledger:
        yield ledger


@pytest.fixture
def server(tmp_path: Path, database_url: str) -> Iterator[tuple[Process, Path]]:
    """A server, and the file that it writes when it is ready."""
    server, ready = process(tmp_path, "--database-url", database_url, LEASE_SECONDS="0.5", LOG_LEVEL="warning")
    with server:
        yield server, ready


def define(served: Served, config: dict[str, Any], kind: str = "map", **more: Any) -> int:
    steps = {"m": {"type": kind, "config": config, **more, "next": "end"}}
    return int(served.rest("POST", "/workflows/", {"name": "w", "start_at": "m", "steps": steps})["id"])


def call(ledger: Ledger, query: str = "", **more: Any) -> dict[str, Any]:
    return {"type": "http_request", "config": {"url": f"{ledger.url}/{{{{item}}}}{query}"}, **more}


def ended(served: Served, number: int) -> Any:
    while True:
        found = served.rest("GET", f"/executions/{number}")
        if found["status"] in ("completed", "failed", "cancelled"):
            return found
        time.sleep(0.02)


def run(served: Served, workflow: int, value: Any) -> Any:
    return ended(served, served.rest("POST", f"/workflows/{workflow}/execute?wait=10", {"input": value})["id"])


def overlapping(effects: list[Effect], seconds: float) -> int:
    """How many calls of at least so many seconds were under way at once, at the most."""
    times = sorted(effect.time for effect in effects)
    return max(sum(begin <= at < begin + seconds for at in times) for begin in times)


def test_maps_and_loops_of_real_calls(ledger: Ledger, server: tuple[Process, Path]) -> None:
    with connected(*server) as served:
        _in_order_and_bounded(served, ledger)
        _retried_and_tolerated(served, ledger)
        _failed_and_cancelled(served, ledger)
        _in_rounds(served, ledger)
    assert server[0].stop() == 0, server[0].tail()


def _in_order_and_bounded(served: Served, ledger: Ledger) -> None:
    config = {"items": "{{input.list}}", "max_parallel": 4, "task": call(ledger, "?delay=0.05")}
    came = run(served, define(served, config), {"list": list(range(ITEMS))})
    assert came["status"] == "completed", came["error"]
    results = came["output"]["m"]["results"]
    assert [result["status"] for result in results] == [200] * ITEMS
    assert [run["iteration"] for run in came["tasks"]] == ["", *(f"[{place}]" for place in range(ITEMS))]
    urls = [run["input"]["url"].partition("?")[0] for run in came["tasks"][1:]]
    assert urls == [f"{ledger.url}/{place}" for place in range(ITEMS)]
    at = [result["body"]["at"] for result in results]
    mine = {effect.iteration: effect for effect in ledger.effects() if effect.execution == came["id"]}
    assert at == [mine[f"[{place}]"].time for place in range(ITEMS)], "a result is of another item"
    assert overlapping(list(mine.values()), 0.05) == 4


def _retried_and_tolerated(served: Served, ledger: Ledger) -> None:
    retry = {"max_attempts": 2, "delay_seconds": 0}
    config = {"items": [0, 1, 3], "tolerate_failures": "50%", "task": call(ledger, "?fail={{item}}", retry=retry)}
    came = run(served, define(served, config), {})
    assert came["status"] == "completed", came["error"]
    output = came["output"]["m"]
    assert [result and result["body"]["calls"] for result in output["results"]] == [1, 2, None]
    assert [(error["index"], error["type"]) for error in output["errors"]] == [(2, "http_status")]
    keys = Counter(effect.key for effect in ledger.effects() if effect.execution == came["id"])
    assert keys == {f"{came['id']}/m/[0]": 1, f"{came['id']}/m/[1]": 2, f"{came['id']}/m/[2]": 2}


def _failed_and_cancelled(served: Served, ledger: Ledger) -> None:
    slow = call(ledger, "?delay={{item.delay}}&fail={{item.fail}}")
    items = [{"delay": 8, "fail": 0}, {"delay": 0, "fail": 1}, {"delay": 8, "fail": 0}]
    workflow = define(served, {"items": "{{input}}", "task": slow})
    came = run(served, workflow, items)
    assert (came["status"], came["error"]["type"], came["error"]["task"]) == ("failed", "items_failed", "m")
    assert [run["status"] for run in came["tasks"]] == ["failed", "cancelled", "failed", "cancelled"]
    begun = served.rest("POST", f"/workflows/{workflow}/execute", {"input": [items[0], items[2]]})["id"]
    while len([effect for effect in ledger.effects() if effect.execution == begun]) < 2:
        time.sleep(0.01)
    served.rest("POST", f"/executions/{begun}/cancel")
    cancelled = ended(served, begun)
    assert [run["status"] for run in cancelled["tasks"]] == ["cancelled"] * 3
    assert cancelled["status"] == "cancelled"


def _in_rounds(served: Served, ledger: Ledger) -> None:
    """Calls the same address until it answers something, with a wait inside."""
    body = {"type": "http_request", "config": {"url": f"{ledger.url}/{{{{round}}}}"}}
    came = run(served, define(served, {"task": body, "until": "{{round}} == 3"}, "loop"), {})
    assert came["output"]["m"]["rounds"] == 3
    assert came["output"]["m"]["last"]["body"]["calls"] == 1
    keys = [effect.key for effect in ledger.effects() if effect.execution == came["id"]]
    assert keys == [f"{came['id']}/m/.{place}" for place in (1, 2, 3)]
    naps = {"task": {"type": "delay", "config": {"ms": 5}}, "while": {"<=": [{"var": "round"}, 3]}}
    assert run(served, define(served, naps, "loop"), {})["output"]["m"]["rounds"] == 3


def test_no_item_that_has_completed_runs_again(ledger: Ledger, server: tuple[Process, Path]) -> None:
    with connected(*server) as served:
        config = {"items": "{{input}}", "max_parallel": 5, "task": call(ledger, "?delay=0.1")}
        workflow = define(served, config)
        number = served.rest("POST", f"/workflows/{workflow}/execute", {"input": list(range(ITEMS))})["id"]
        while len(ledger.effects()) < ITEMS // 2:
            time.sleep(0.01)
    server[0].kill()
    server[1].unlink()
    server[0].start()
    with connected(*server) as served:
        again = ended(served, number)
        events = served.rest("GET", f"/executions/{number}/events?limit=1000")["items"]
    assert again["status"] == "completed", again["error"]
    statuses = [result["status"] for result in again["output"]["m"]["results"]]
    assert statuses == [200] * ITEMS
    _check_effects(events, ledger.by_task(), number)


def _check_effects(
    events: list[dict[str, Any]], effects: dict[tuple[int, str, str], list[Effect]], number: int
) -> None:
    (place,) = [place for place, event in enumerate(events) if event["type"] == "TakenOver"]
    lost = set(events[place]["lost"])
    done = {event["task"] for event in events[:place] if event["type"] == "TaskCompleted"}
    assert done, "nothing had completed"
    assert 0 < len(lost) <= 5
    assert not done & lost
    for item in range(ITEMS):
        calls = effects[number, "m", f"[{item}]"]
        assert len({effect.key for effect in calls}) == 1
        assert len(calls) <= (2 if f"m[{item}]" in lost else 1), f"item {item} ran again"
