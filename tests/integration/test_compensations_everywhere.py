"""Compensations on every executor: in reverse, seen while they last, tried again, and not twice when the engine dies.

A ledger outside says what was really called. One server with its worker runs it all, but where it is killed.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.processes import Process
from executors._rq_names import plain
from tests import servers
from tests.acceptance.serving import Served, connected, process
from tests.integration.node_rows import PATIENCE, Config
from tests.integration.stage import EXECUTORS, Stage, open_stage, overheard
from tests.ledger import Effect, Ledger

AGAIN = {"max_attempts": 3, "initial_interval": 0.05}
FAILS = {"type": "noop", "config": {"x": "{{input.nothing}}"}}
SLEEPS = {"type": "delay", "config": {"duration_seconds": 3600}}
ASKS = {"type": "approval", "config": {"message": "May it be undone?", "approvers": ["ana"]}}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("undone")) as stage:
        yield stage


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as ledger:
        yield ledger


def call(ledger: Ledger, path: str, **more: Any) -> Config:
    """Work that leaves a line in the ledger."""
    return {"type": "http_request", "config": {"method": "POST", "url": f"{ledger.url}/{path}"}, **more}


def saga(ledger: Ledger, place: str, last: Config, **undo: Config) -> Config:
    """`a`, `b` and `c` one after another, then `last`; all that is done, and all that undoes it, in this place.

    `undo` says otherwise of a task's compensation.
    """
    tasks = []
    for before, key in zip((None, "a", "b"), "abc", strict=True):
        compensate = {"executor": place, **(undo.get(key) or call(ledger, f"undo-{key}", retry=AGAIN))}
        work = call(ledger, key, compensate=compensate, executor=place)
        tasks.append({"id": key, "depends_on": [before] if before else [], **work})
    return {"name": "saga", "tasks": [*tasks, {"id": "last", "depends_on": ["c"], **last}]}


def begin(served: Served, document: Config) -> int:
    made = served.rest("POST", "/workflows/", document)["id"]
    return int(served.rest("POST", f"/workflows/{made}/execute", {"input": {}})["id"])


def wait_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def undone(ledger: Ledger, number: int) -> list[Effect]:
    return [effect for effect in ledger.effects() if effect.execution == number and "~" in effect.task]


def undoing(view: Config) -> dict[str, tuple[str, str, int]]:
    """By compensation: where it runs, how it is, its attempts."""
    return {run["key"]: (run["executor"], run["status"], run["attempt"]) for run in view["tasks"] if run["compensates"]}


@pytest.mark.parametrize("place", EXECUTORS)
def test_it_is_undone_in_reverse_where_it_was_done_and_tried_again(stage: Stage, ledger: Ledger, place: str) -> None:
    """The first one asks a person, so that the others are seen while they wait for their turn."""
    document = saga(ledger, place, FAILS, b=call(ledger, "undo-b?fail=1", retry=AGAIN), c=ASKS)
    with overheard(stage.redis_url) as said:
        number = begin(stage.served, document)
        path = f"/executions/{number}"
        stage.seen(number, lambda seen: undoing(seen).get("c~compensate", ("", "", 0))[1] == "waiting")
        seen = stage.served.rest("GET", path)
        assert (seen["status"], seen["error"]["task"]) == ("compensating", "last")
        assert undoing(seen) == {
            "c~compensate": (place, "waiting", 1),
            "b~compensate": (place, "pending", 0),
            "a~compensate": (place, "pending", 0),
        }
        assert number in [one["id"] for one in stage.served.rest("GET", "/executions?status=compensating")["items"]]
        assert "compensating" in stage.served.cli("status", str(number)).out
        assert undone(ledger, number) == [], "one at a time"
        stage.served.rest("POST", f"{path}/tasks/c~compensate/approve", {"by": "ana"})
        stage.ended(number)
    view = stage.served.rest("GET", path)
    assert (view["status"], view["error"]["task"]) == ("failed", "last")
    assert undoing(view) == {
        "c~compensate": (place, "completed", 1),
        "b~compensate": (place, "completed", 2),
        "a~compensate": (place, "completed", 1),
    }
    keys = [effect.key for effect in undone(ledger, number)]
    assert keys == [f"{number}/{key}~compensate/" for key in "bba"], "two attempts of one have one key"
    jobs = {key: f"-e{number}-t{plain(key)}-" for key in undoing(view)}
    on_rq = {key for key, job in jobs.items() if any(job in command for command in said)}
    assert on_rq == (set(undoing(view)) if place == "rq" else set())


@pytest.mark.parametrize("place", EXECUTORS)
def test_one_that_fails_for_good_or_takes_too_long_stops_no_other(stage: Stage, ledger: Ledger, place: str) -> None:
    """And who cancels is told what could not be undone."""
    slow = {"type": "http_request", "config": {"url": stage.world.url("/slow")}, "timeout": 0.5}
    number = begin(stage.served, saga(ledger, place, SLEEPS, c=call(ledger, "undo-c?fail=9", retry=AGAIN), b=slow))
    stage.seen(number, lambda seen: seen["status"] == "waiting")
    stage.served.rest("POST", f"/executions/{number}/cancel", {"reason": "enough"})
    stage.ended(number)
    view = stage.served.rest("GET", f"/executions/{number}")
    assert (view["status"], view["error"]["type"]) == ("cancelled", "compensation_failed")
    assert undoing(view) == {
        "c~compensate": (place, "failed", 3),
        "b~compensate": (place, "failed", 1),
        "a~compensate": (place, "completed", 1),
    }
    errors = {run["key"]: run["error"] for run in view["tasks"] if run["compensates"]}
    assert errors["b~compensate"]["type"] == "timeout"
    assert [effect.task for effect in undone(ledger, number)] == [*["c~compensate"] * 3, "a~compensate"]
    stage.left_alone()


def test_each_may_be_undone_somewhere_else(stage: Stage, ledger: Ledger) -> None:
    elsewhere = {key: call(ledger, f"undo-{key}", executor=where) for key, where in zip("abc", EXECUTORS, strict=True)}
    number = begin(stage.served, saga(ledger, "asyncio", FAILS, **elsewhere))
    stage.ended(number)
    assert undoing(stage.served.rest("GET", f"/executions/{number}")) == {
        "c~compensate": ("ray", "completed", 1),
        "b~compensate": ("rq", "completed", 1),
        "a~compensate": ("asyncio", "completed", 1),
    }
    assert [effect.task for effect in undone(ledger, number)] == [f"{key}~compensate" for key in "cba"]


# --- kill -9 ---


def test_what_a_worker_undoes_is_not_undone_again_when_the_engine_dies(tmp_path: Path, ledger: Ledger) -> None:
    """The worker goes on with it, and the next engine hears its answer."""
    redis_url = servers.redis_server()
    servers.flush(redis_url)
    settings = {"REDIS_URL": redis_url, "LEASE_SECONDS": "0.5", "LOG_LEVEL": "warning"}
    server, ready = process(tmp_path, **settings)
    with Process("worker", ["cli.py", "worker"], settings, tmp_path / "worker.log"), server:
        with connected(server, ready) as served:
            document = saga(ledger, "rq", FAILS, b=call(ledger, "undo-b?delay=2"))
            number = begin(served, document)
            wait_for(lambda: len(undone(ledger, number)) == 2)
            server.kill()
        ready.unlink()
        server.start()
        with connected(server, ready) as served:
            wait_for(lambda: served.rest("GET", f"/executions/{number}")["completed_at"] is not None)
            view = served.rest("GET", f"/executions/{number}")
        assert server.stop() == 0, server.tail()
    assert view["status"] == "failed"
    assert undoing(view) == {f"{key}~compensate": ("rq", "completed", 1) for key in "cba"}
    assert [effect.task for effect in undone(ledger, number)] == [f"{key}~compensate" for key in "cba"]
