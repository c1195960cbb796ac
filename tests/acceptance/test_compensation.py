"""Compensations over REST on both databases: a ledger outside says what was undone, in which order, how often."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from deploy.processes import ROOT
from deploy.servers import free_port
from proto.workflow.v1 import workflow_pb2 as pb
from tests.acceptance.serving import Served, connected, process
from tests.ledger import Effect, Ledger
from tests.rest import Rest, open_rest

ENDED = ("completed", "failed", "cancelled")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as ledger:
        yield ledger


@pytest.fixture
async def rest(database_url: str) -> AsyncIterator[Rest]:
    async with open_rest(database_url) as rest:
        yield rest


# --- documents ---


def call(ledger: Ledger, path: str, **more: Any) -> dict[str, Any]:
    """Work that leaves a line in the ledger."""
    return {"type": "http_request", "config": {"method": "POST", "url": f"{ledger.url}/{path}"}, **more}


def saga(ledger: Ledger, last: dict[str, Any], **undo: str) -> dict[str, Any]:
    """`a`, `b` and `c` one after another, then `last`. `undo` says what a compensation asks of the ledger."""
    tasks = []
    for before, key in zip((None, "a", "b"), "abc", strict=True):
        query = undo.get(key, "")
        compensate = call(ledger, f"undo-{key}{query}", retry={"max_attempts": 3, "initial_interval": 0.05})
        depends_on = [before] if before else []
        tasks.append({"id": key, "depends_on": depends_on, **call(ledger, key, compensate=compensate)})
    return {"name": "saga", "tasks": [*tasks, {"id": "last", "depends_on": ["c"], **last}]}


FAILS = {"type": "noop", "config": {"x": "{{input.nothing}}"}}
WAITS = {"type": "delay", "config": {"duration_seconds": 3600}}


async def start(rest: Rest, document: Any) -> int:
    made = await rest.post("/workflows/", document)
    assert made.status == 201, made.body
    number: int = (await rest.post(f"/workflows/{made.json()['id']}/execute")).json()["id"]
    return number


async def until(rest: Rest, number: int, *statuses: str) -> Any:
    async with asyncio.timeout(60):
        while True:
            view = (await rest.get(f"/executions/{number}")).json()
            if view["status"] in statuses:
                return view
            await asyncio.sleep(0.02)


def undone(ledger: Ledger) -> list[str]:
    """The compensations that the ledger saw, every call of each."""
    return [effect.task for effect in ledger.effects() if "~" in effect.task]


# --- failing ---


async def test_what_was_done_is_undone_in_reverse_each_once(rest: Rest, ledger: Ledger) -> None:
    number = await start(rest, saga(ledger, FAILS))
    view = await until(rest, number, *ENDED)
    assert view["status"] == "failed"
    assert view["error"]["task"] == "last"
    assert [effect.task for effect in ledger.effects()] == [
        "a",
        "b",
        "c",
        "c~compensate",
        "b~compensate",
        "a~compensate",
    ]
    keys = [effect.key for effect in ledger.effects() if "~" in effect.task]
    assert keys == [f"{number}/{key}~compensate/" for key in "cba"]
    runs = {run["key"]: run for run in view["tasks"]}
    assert [*runs] == ["a", "b", "c", "last", "c~compensate", "b~compensate", "a~compensate"]
    assert [runs[f"{key}~compensate"]["compensates"] for key in "abc"] == ["a", "b", "c"]
    assert {run["status"] for key, run in runs.items() if "~" in key} == {"completed"}
    assert (runs["a"]["compensates"], runs["a"]["status"]) == (None, "completed")
    assert runs["c~compensate"]["name"] == "c (compensation)"
    assert runs["c~compensate"]["input"]["url"] == f"{ledger.url}/undo-c"
    events = (await rest.get(f"/executions/{number}/events?limit=1000")).json()["items"]
    (begin,) = (event for event in events if event["type"] == "CompensationStarted")
    assert begin["error"] == view["error"]


async def test_a_workflow_that_completes_undoes_nothing(rest: Rest, ledger: Ledger) -> None:
    view = await until(rest, await start(rest, saga(ledger, {"type": "noop"})), *ENDED)
    assert view["status"] == "completed"
    assert [run["key"] for run in view["tasks"]] == ["a", "b", "c", "last"]
    assert undone(ledger) == []


async def test_a_compensation_is_tried_again_and_one_that_fails_stops_no_other(rest: Rest, ledger: Ledger) -> None:
    number = await start(rest, saga(ledger, FAILS, c="?fail=1", b="?fail=9"))
    view = await until(rest, number, *ENDED)
    assert undone(ledger) == [*["c~compensate"] * 2, *["b~compensate"] * 3, "a~compensate"]
    assert view["status"] == "failed"
    assert view["error"]["message"].endswith("; the compensation of 'b' failed")
    runs = {run["key"]: run for run in view["tasks"]}
    assert [(runs[f"{key}~compensate"]["status"], runs[f"{key}~compensate"]["attempt"]) for key in "cba"] == [
        ("completed", 2),
        ("failed", 3),
        ("completed", 1),
    ]


async def test_it_leaves_memory_while_it_waits(rest: Rest, ledger: Ledger) -> None:
    document = saga(ledger, FAILS)
    document["tasks"][2]["compensate"] = {"type": "delay", "config": {"duration_seconds": 0.3}}
    number = await start(rest, document)
    view = await until(rest, number, "compensating")
    assert view["error"]["task"] == "last", "it says why while it is being undone"
    assert view["output"] is None
    waiting = {run["key"]: run["status"] for run in view["tasks"] if run["compensates"]}
    assert [*waiting] == ["c~compensate", "b~compensate", "a~compensate"]
    assert set(waiting.values()) <= {"pending", "scheduled", "running", "waiting"}
    page = (await rest.get("/executions?status=compensating")).json()["items"]
    assert [item["id"] for item in page] == [number]
    assert (await until(rest, number, *ENDED))["status"] == "failed"
    assert undone(ledger) == ["b~compensate", "a~compensate"]


# --- cancelling ---


async def test_a_cancel_undoes_and_a_second_one_changes_nothing(rest: Rest, ledger: Ledger) -> None:
    number = await start(rest, saga(ledger, WAITS, c="?delay=0.5"))
    await until(rest, number, "waiting")
    first = await rest.post(f"/executions/{number}/cancel", {"reason": "the customer called"})
    second = await rest.post(f"/executions/{number}/cancel", {"reason": "again"})
    for answer in (first, second):
        assert (answer.status, answer.json()) == (202, {"execution_id": number, "status": "compensating"})
    view = await until(rest, number, *ENDED)
    assert (view["status"], view["error"], view["cancel_requested"]) == ("cancelled", None, True)
    assert undone(ledger) == ["c~compensate", "b~compensate", "a~compensate"]
    events = (await rest.get(f"/executions/{number}/events?limit=1000")).json()["items"]
    assert [event["reason"] for event in events if event["type"] == "CancelRequested"] == ["the customer called"]
    assert (await rest.post(f"/executions/{number}/cancel")).code == "already_ended"


async def test_what_has_failed_cannot_be_cancelled_any_more(rest: Rest, ledger: Ledger) -> None:
    number = await start(rest, saga(ledger, FAILS, c="?delay=0.5"))
    await until(rest, number, "compensating")
    refused = await rest.post(f"/executions/{number}/cancel")
    assert (refused.status, refused.code) == (409, "already_ended")
    assert "compensates" in refused.json()["detail"]
    assert (await until(rest, number, *ENDED))["status"] == "failed"


# --- rows ---


async def test_rows_of_ordered_tasks_have_it_too(rest: Rest, ledger: Ledger) -> None:
    await rest.post("/workflows/", {"name": "rows"})
    undo = call(ledger, "undo", timeout=5)
    row = {"name": "charge", "key": "charge", "type": "noop", "compensate": undo}
    made = (await rest.post("/workflows/1/tasks/", row)).json()
    assert made["compensate"]["config"] == undo["config"]
    assert (made["compensate"]["timeout"], made["compensate"]["retry"]["max_attempts"]) == (5, 1)
    failing = {"name": "last", "parameters": FAILS["config"]}
    assert (await rest.post("/workflows/1/tasks/", failing)).json()["compensate"] is None
    number = (await rest.post("/workflows/1/execute")).json()["id"]
    assert (await until(rest, number, *ENDED))["status"] == "failed"
    assert undone(ledger) == ["charge~compensate"]
    assert (await rest.get("/workflows/1/tasks/1")).json() == made
    assert (await rest.put("/workflows/1/tasks/1", {"compensate": None})).json()["compensate"] is None
    number = (await rest.post("/workflows/1/execute")).json()["id"]
    assert (await until(rest, number, *ENDED))["status"] == "failed"
    assert undone(ledger) == ["charge~compensate"]


@pytest.mark.parametrize(
    ("compensate", "pointer"),
    [
        ({"type": "http_reqest"}, "/compensate/type"),
        ({"config": {}}, "/compensate/type"),
        ({"type": "http_request", "config": {"url": 5}}, "/compensate/config/url"),
        ({"type": "noop", "config": {"x": "{{last.output}}"}}, "/compensate/config/x"),
        ({"type": "noop", "url": "x"}, "/compensate/url"),
        ({"type": "noop", "retry": {"max_attempts": 0}}, "/compensate/retry/max_attempts"),
        ("noop", "/compensate"),
    ],
)
async def test_a_bad_one_is_refused_with_its_place(sqlite_url: str, compensate: Any, pointer: str) -> None:
    async with open_rest(sqlite_url, engine=False) as rest:
        await rest.post("/workflows/", {"name": "rows"})
        row = await rest.post("/workflows/1/tasks/", {"name": "a", "compensate": compensate})
        assert (row.status, row.pointers) == (422, [pointer])
        tasks = [{"id": "a", "compensate": compensate}, {"id": "last", "depends_on": ["a"]}]
        written = await rest.post("/workflows/", {"tasks": tasks})
        assert (written.status, written.pointers) == (422, [f"/tasks/0{pointer}"])


# --- the page about it ---


class Travel:
    """Books, gives back, and refuses every payment."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.calls.append((request.method, request.path))
        if request.path == "/payments":
            return web.json_response({"error": "no money"}, status=402)
        return web.json_response(
            {"id": f"{len(self.calls)}-{(await request.json())['to']}"} if request.can_read_body else {}
        )


async def test_the_example_of_the_page(sqlite_url: str) -> None:
    page = (ROOT / "docs/workflows.md").read_text().partition("## Compensations")[2].partition("\n## ")[0]
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    travel, port = Travel(), free_port()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", travel.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    document = shown.replace("https://travel.example", f"http://127.0.0.1:{port}")
    async with open_rest(sqlite_url) as rest:
        made = await rest.post("/workflows/", document.encode(), content_type="application/yaml")
        assert made.status == 201, made.body
        body = {"input": {"to": "Rome", "amount": 900}}
        view = (await rest.post("/workflows/book-journey/execute?wait=20", body)).json()
    await runner.cleanup()
    assert view["status"] == "failed"
    assert travel.calls == [
        ("POST", "/flights"),
        ("POST", "/hotels"),
        ("POST", "/payments"),
        ("DELETE", "/hotels/2-Rome"),
        ("DELETE", "/flights/1-Rome"),
    ]


# --- kill -9 ---


def test_what_is_undone_stays_undone_through_a_kill(database_url: str, tmp_path: Path, ledger: Ledger) -> None:
    server, ready = process(tmp_path, "--database-url", database_url, LEASE_SECONDS="0.5")
    with server:
        with connected(server, ready) as served:
            number = begin(served, saga(ledger, FAILS, b="?delay=4"))
            wait_for(lambda: "b~compensate" in undone(ledger))
            server.kill()
        ready.unlink()
        server.start()
        with connected(server, ready) as served:
            asked = pb.GetWorkflowStatusRequest(execution_id=number, wait_seconds=50)
            view = served.stub.GetWorkflowStatus(asked, timeout=60)
            shown = served.cli("status", str(number)).out
            watched = served.cli("watch", str(number)).out
        assert server.stop() == 0, server.tail()
    assert view.status == "failed"
    assert [(task.key, task.compensates, task.status) for task in view.tasks if task.compensates] == [
        (f"{key}~compensate", key, "completed") for key in "cba"
    ]
    assert [run.attempt for run in view.tasks if run.compensates] == [1, 2, 1]
    assert undone(ledger) == ["c~compensate", "b~compensate", "b~compensate", "a~compensate"]
    assert len({effect.key for effect in cut_off(ledger)}) == 1, "a service can tell that it was the same"
    assert "b~compensate" in shown
    assert "CompensationStarted" in watched


def cut_off(ledger: Ledger) -> list[Effect]:
    return [effect for effect in ledger.effects() if effect.task == "b~compensate"]


def begin(served: Served, document: Any) -> int:
    made = served.rest("POST", "/workflows/", document)["id"]
    return served.execute(made).execution_id


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
