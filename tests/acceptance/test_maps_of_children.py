"""Maps (and a loop) whose items are executions of another workflow, over REST, on both databases."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.serving import Served, connected, process
from tests.ledger import Ledger
from tests.rest import Rest, open_rest

ITEMS, AT_ONCE = 200, 10
ENDED = ("completed", "failed", "cancelled")
PAGE = 1000
PATIENCE = 120.0
"""Seconds."""


@pytest.fixture
async def rest(database_url: str) -> AsyncIterator[Rest]:
    async with open_rest(database_url) as rest:
        await flow(rest, "double", {"twice": {"type": "set", "config": {"n": "{{input.n * 2}}"}}})
        await flow(rest, "slow", {"nap": {"type": "delay", "config": {"duration_seconds": 3600}}})
        await flow(
            rest,
            "picky",
            {
                "which": {
                    "type": "branch",
                    "config": {
                        "cases": [
                            {"condition": "{{input.do}} == 'fail'", "next": "refuse"},
                            {"condition": "{{input.do}} == 'wait'", "next": "nap"},
                            {"else": True, "next": "well"},
                        ]
                    },
                },
                "refuse": {"type": "fail", "config": {"message": "as told"}, "next": "end"},
                "nap": {"type": "delay", "config": {"duration_seconds": 3600}, "next": "end"},
                "well": {"type": "set", "config": {"n": "{{input.n}}"}, "next": "end"},
            },
        )
        yield rest


async def flow(rest: Rest, key: str, steps: dict[str, Any]) -> None:
    made = await rest.post("/workflows/", {"name": key, "key": key, "start_at": next(iter(steps)), "steps": steps})
    assert made.status == 201, made.body


def child(workflow: str, **more: Any) -> dict[str, Any]:
    """What is run for each item: an execution with the item as its input."""
    config = {"workflow": workflow, "input": "{{item}}", **more.pop("config", {})}
    return {"type": "sub_workflow", "config": config, **more}


async def start(rest: Rest, items: Any, body: dict[str, Any], **config: Any) -> int:
    steps = {"m": {"type": "map", "config": {"items": "{{input}}", "task": body, **config}}}
    await flow(rest, "outer", steps)
    answer = await rest.post("/workflows/outer/execute", {"input": items})
    assert answer.status == 202, answer.body
    number: int = answer.json()["id"]
    return number


async def until(rest: Rest, number: int, *statuses: str) -> Any:
    async with asyncio.timeout(PATIENCE):
        while (found := (await rest.get(f"/executions/{number}")).json())["status"] not in statuses:
            await asyncio.sleep(0.02)
        return found


async def children(rest: Rest, number: int, status: str = "") -> list[dict[str, Any]]:
    """Those that it has begun, the oldest first."""
    page = (await rest.get(f"/executions?parent_id={number}&limit={PAGE}{status and f'&status={status}'}")).json()
    return sorted(page["items"], key=lambda item: item["id"])


def runs_of(view: Any) -> list[Any]:
    """Of the items, in their order."""
    return [run for run in view["tasks"] if run["iteration"]]


def most_open(events: Iterable[dict[str, Any]]) -> int:
    """How many children were awaited at once, at the most."""
    most = now = 0
    for event in events:
        inner = "[" in event.get("task", "")
        now += event["type"] == "ChildStarted"
        now -= inner and event["type"] in ("TaskCompleted", "TaskFailed", "TaskCancelled")
        most = max(most, now)
    return most


async def test_each_item_is_one_execution_so_many_at_once_and_the_results_are_in_order(rest: Rest) -> None:
    items = [{"n": n} for n in range(ITEMS)]
    number = await start(
        rest, items, child("double", config={"labels": {"place": "at {{index}}"}}), max_parallel=AT_ONCE
    )
    view = await until(rest, number, *ENDED)
    assert view["status"] == "completed", view["error"]
    output = view["output"]["m"]
    assert output == {"results": [{"twice": {"n": 2 * n}} for n in range(ITEMS)], "errors": []}
    runs = runs_of(view)
    assert [run["iteration"] for run in runs] == [f"[{n}]" for n in range(ITEMS)]
    begun = {one["id"]: one for one in await children(rest, number)}
    assert sorted(run["child_id"] for run in runs) == [*begun], "one child for each item"
    assert [begun[run["child_id"]]["labels"] for run in runs] == [{"place": f"at {n}"} for n in range(ITEMS)]
    assert {(one["parent_id"], one["root_id"], one["status"]) for one in begun.values()} == {
        (number, number, "completed")
    }
    events = (await rest.get(f"/executions/{number}/events?limit={PAGE}")).json()["items"]
    assert most_open(events) == AT_ONCE
    assert Counter(event["type"] for event in events)["ChildStarted"] == ITEMS


async def test_a_cancel_reaches_every_child_and_no_further_one_begins(rest: Rest) -> None:
    number = await start(rest, list(range(25)), child("slow"), max_parallel=AT_ONCE)
    await until(rest, number, "waiting")
    begun = await children(rest, number)
    assert len(begun) == AT_ONCE
    assert (await rest.post(f"/executions/{number}/cancel", {"reason": "enough"})).status == 200
    for one in begun:
        await until(rest, one["id"], "cancelled")
    view = await until(rest, number, *ENDED)
    assert view["status"] == "cancelled"
    assert [run["status"] for run in view["tasks"]] == ["cancelled"] * (AT_ONCE + 1)
    assert await children(rest, number) == await children(rest, number, "cancelled")
    assert len(await children(rest, number)) == AT_ONCE


async def test_as_many_children_may_fail_as_it_tolerates(rest: Rest) -> None:
    items = [{"n": n, "do": "fail" if n % 2 else "well"} for n in range(8)]
    number = await start(rest, items, child("picky"), tolerate_failures="50%", max_parallel=3)
    view = await until(rest, number, *ENDED)
    assert view["status"] == "completed", view["error"]
    output = view["output"]["m"]
    assert output["results"] == [None if n % 2 else {"well": {"n": n}} for n in range(8)]
    assert [(error["index"], error["type"]) for error in output["errors"]] == [
        (n, "child_failed") for n in (1, 3, 5, 7)
    ]
    failed = [one["id"] for one in await children(rest, number, "failed")]
    for error, one in zip(output["errors"], failed, strict=True):
        assert f"execution {one} failed" in error["message"]
        assert "as told" in error["message"]


async def test_a_failure_too_many_fails_the_map_and_lets_the_other_children_go(rest: Rest) -> None:
    items = [{"do": "wait"}, {"do": "fail"}, {"do": "wait"}, {"do": "fail"}, *[{"do": "wait"}] * 20]
    number = await start(rest, items, child("picky"), tolerate_failures=1, max_parallel=6)
    view = await until(rest, number, *ENDED)
    assert (view["status"], view["error"]["type"], view["error"]["task"]) == ("failed", "items_failed", "m")
    assert "child_failed" in view["error"]["message"]
    begun = await children(rest, number)
    ends = [(await until(rest, one["id"], *ENDED))["status"] for one in begun]
    assert Counter(ends)["failed"] == 2
    assert set(ends) == {"failed", "cancelled"}
    assert len(begun) < len(items)
    assert {run["status"] for run in runs_of(view)} == {"failed", "cancelled"}


async def test_a_child_of_an_item_has_its_retries_its_timeout_and_its_cancel(rest: Rest) -> None:
    body = child("picky", retry={"max_attempts": 2, "initial_interval": 0.05}, timeout=0.5)
    items = [{"do": "fail"}, {"do": "wait"}, {"n": 7, "do": "well"}]
    number = await start(rest, items, body, tolerate_failures=2)
    view = await until(rest, number, *ENDED)
    assert view["output"]["m"]["results"] == [None, None, {"well": {"n": 7}}]
    assert [error["type"] for error in view["output"]["m"]["errors"]] == ["child_failed", "timeout"]
    assert [run["attempt"] for run in runs_of(view)] == [2, 2, 1]
    begun = await children(rest, number)
    ends = Counter([(await until(rest, one["id"], *ENDED))["status"] for one in begun])
    assert ends == {"failed": 2, "cancelled": 2, "completed": 1}


async def test_a_child_that_somebody_cancels_is_a_failed_item(rest: Rest) -> None:
    number = await start(rest, [{"do": "wait"}, {"n": 1, "do": "well"}], child("picky"), tolerate_failures=1)
    await until(rest, number, "waiting")
    first = (await children(rest, number))[0]
    assert (await rest.post(f"/executions/{first['id']}/cancel")).status in (200, 202)
    output = (await until(rest, number, *ENDED))["output"]["m"]
    assert output["results"] == [None, {"well": {"n": 1}}]
    assert [(error["index"], error["type"]) for error in output["errors"]] == [(0, "child_cancelled")]


async def test_it_need_not_wait_and_then_lets_nobody_go(rest: Rest) -> None:
    number = await start(rest, list(range(30)), child("slow", config={"wait": False}), max_parallel=AT_ONCE)
    view = await until(rest, number, *ENDED)
    assert view["status"] == "completed", view["error"]
    begun = [one["id"] for one in await children(rest, number)]
    assert len(begun) == 30
    own = [run["child_id"] for run in runs_of(view)]
    assert sorted(own) == begun
    assert view["output"]["m"]["results"] == [{"execution_id": one} for one in own]
    for one in begun:
        await until(rest, one, "waiting")


async def test_a_workflow_that_does_not_exist_fails_each_item(rest: Rest) -> None:
    number = await start(rest, [1, 2], child("nowhere"), tolerate_failures=2)
    output = (await until(rest, number, *ENDED))["output"]["m"]
    assert [error["type"] for error in output["errors"]] == ["workflow_not_found"] * 2
    assert await children(rest, number) == []


async def test_maps_of_maps_and_loops_of_children(rest: Rest) -> None:
    """Each child is a map of children itself, and a loop begins one child after another."""
    inner = {"items": "{{input.list}}", "task": child("double")}
    await flow(rest, "inner", {"m": {"type": "map", "config": inner}})
    items = [{"list": [{"n": 1}, {"n": 2}]}, {"list": []}, {"list": [{"n": 3}]}]
    view = await until(rest, await start(rest, items, child("inner")), *ENDED)
    found = [[one["twice"]["n"] for one in result["m"]["results"]] for result in view["output"]["m"]["results"]]
    assert found == [[2, 4], [], [6]]
    rounds = {"type": "sub_workflow", "config": {"workflow": "double", "input": {"n": "{{round}}"}}}
    await flow(rest, "rounds", {"l": {"type": "loop", "config": {"task": rounds, "until": "{{last.twice.n}} >= 6"}}})
    view = (await rest.post("/workflows/rounds/execute?wait=30")).json()
    assert view["output"] == {"l": {"last": {"twice": {"n": 6}}, "rounds": 3}}
    assert len(await children(rest, view["id"])) == 3


# --- kill -9 ---


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as ledger:
        yield ledger


def test_no_item_has_two_children_through_a_kill(database_url: str, tmp_path: Path, ledger: Ledger) -> None:
    server, ready = process(tmp_path, "--database-url", database_url, LEASE_SECONDS="0.5", LOG_LEVEL="warning")
    call = {"type": "http_request", "config": {"method": "POST", "url": f"{ledger.url}/{{{{input}}}}?delay=0.02"}}
    steps = {"call": {**call, "next": "tell"}, "tell": {"type": "set", "config": {"n": "{{input}}"}}}
    with server:
        with connected(server, ready) as served:
            served.rest("POST", "/workflows/", {"name": "in", "key": "in", "start_at": "call", "steps": steps})
            config = {"items": "{{input}}", "max_parallel": AT_ONCE, "task": child("in")}
            outer = {"name": "out", "start_at": "m", "steps": {"m": {"type": "map", "config": config}}}
            made = served.rest("POST", "/workflows/", outer)["id"]
            number = served.rest("POST", f"/workflows/{made}/execute", {"input": list(range(ITEMS))})["id"]
            while len(ledger.effects()) < ITEMS // 2:
                time.sleep(0.01)
            server.kill()
        assert len(ledger.effects()) < ITEMS, "the kill came too late"
        ready.unlink()
        server.start()
        with connected(server, ready) as served:
            view = _ended(served, number)
            begun = served.rest("GET", f"/executions?parent_id={number}&limit={PAGE}")["items"]
        assert server.stop() == 0, server.tail()
    assert view["status"] == "completed", view["error"]
    assert view["output"]["m"]["results"] == [{"tell": {"n": n}} for n in range(ITEMS)]
    mine = {one["id"] for one in begun}
    assert len(begun) == ITEMS
    assert mine == {run["child_id"] for run in view["tasks"] if run["iteration"]}
    effects = Counter(effect.execution for effect in ledger.effects())
    assert effects.keys() == mine
    again = [one for one, calls in effects.items() if calls > 1]
    assert len(again) <= AT_ONCE, "only what was under way at the kill may be called again"
    assert max(effects.values()) <= 2


def _ended(served: Served, number: int) -> Any:
    deadline = time.monotonic() + PATIENCE
    while (found := served.rest("GET", f"/executions/{number}"))["status"] not in ENDED:
        assert time.monotonic() < deadline, Counter(run["status"] for run in found["tasks"])
        time.sleep(0.05)
    return found
