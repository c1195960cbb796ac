"""Events from outside by the command line and over gRPC; and what a kill leaves behind."""

import http.client
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from deploy.processes import Process
from proto.workflow.v1 import workflow_pb2 as pb
from tests.acceptance.serving import Served, connected, process

ONE: Any = {"id": "one", "type": "set", "data": {"x": "{{payload.x}}"}}


def flow(served: Served, *nodes: Any, **fields: Any) -> int:
    number: int = served.rest("POST", "/workflows", {"nodes": list(nodes) or [ONE], "edges": [], **fields})["id"]
    return number


def ended(served: Served, execution: int) -> pb.WorkflowStatusResponse:
    request = pb.GetWorkflowStatusRequest(execution_id=execution, wait_seconds=30)
    view: pb.WorkflowStatusResponse = served.stub.GetWorkflowStatus(request, timeout=40)
    return view


# --- gRPC ---


def test_an_event_over_grpc(served: Served) -> None:
    number = flow(served, trigger="grpc.sent")
    request = pb.EmitEventRequest(type="grpc.sent", payload_json='{"x": 9007199254740993}', idempotency_key="grpc")
    made = served.stub.EmitEvent(request, timeout=30)
    (started,) = made.started
    assert (started.workflow_id, made.type, made.handled, made.replayed) == (number, "grpc.sent", True, False)
    assert ended(served, started.execution_id).output_json == '{"one":{"x":9007199254740993}}'
    request.idempotency_key = ""
    again = served.stub.EmitEvent(request, timeout=30, metadata=[("idempotency-key", "grpc")])
    assert (again.replayed, again.event_id, list(again.started)) == (True, made.event_id, [started])
    other = pb.EmitEventRequest(type="grpc.sent")
    other.payload.struct_value["x"] = 1
    assert ended(served, served.stub.EmitEvent(other, timeout=30).started[0].execution_id).status == "completed"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": "a b"}, "letters, digits"),
        ({"payload_json": "{"}, "not valid JSON"),
        ({"payload_json": '{"a": NaN}'}, "NaN"),
        ({"idempotency_key": "k" * 300}, "1 to 255"),
        ({"idempotency_key": "@execution:1/tell/"}, "the first not '@'"),
    ],
)
def test_a_refused_event_over_grpc(served: Served, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        served.stub.EmitEvent(pb.EmitEventRequest(**fields), timeout=30)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert said in (caught.value.details() or "")


# --- the command line ---


def test_the_command_line(served: Served) -> None:
    number = str(flow(served))
    rule = '{">": [{"var": "x"}, 80]}'
    made = served.cli("triggers", "add", number, "--event", "cli.sent", "--condition", rule, "--json")
    one = str(json.loads(made.out)["id"])
    assert "added" in served.cli("triggers", "add", number, "--condition", "{{input.y}} == 1").out
    listed = served.cli("triggers", "list", number)
    assert "cli.sent" in listed.out
    assert "{{input.y}} == 1" in listed.out
    sent = served.cli("emit", "cli.sent", "--data", '{"x": 90, "y": 0}', "--idempotency-key", "cli")
    assert (sent.code, "started execution" in sent.out, f"of workflow {number} (trigger {one})" in sent.out) == (
        0,
        True,
        True,
    )
    again = served.cli("emit", "cli.sent", "--data", '{"x": 90, "y": 0}', "--idempotency-key", "cli")
    assert "it was sent before" in again.out
    assert served.cli("triggers", "disable", number, one).code == 0
    quiet = json.loads(served.cli("emit", "cli.sent", "--data", '{"x": 90, "y": 0}', "--json").out)
    assert (quiet["started"], quiet["handled"]) == ([], True)
    failed = served.cli("emit", "cli.sent", "--data", "@-", stdin='{"x": 1}')
    assert "failed: no value at 'input.y'" in failed.out
    assert served.cli("triggers", "enable", number, one).code == 0
    assert served.cli("triggers", "delete", number, one).code == 0
    assert one not in [str(left["id"]) for left in json.loads(served.cli("triggers", "list", number, "--json").out)]
    for words in (
        ("emit", "a b"),
        ("emit", "a", "--data", "{"),
        ("emit", "a", "--idempotency-key", "@execution:1/tell/"),
        ("execute", number, "--idempotency-key", "@event:1:1"),
        ("triggers", "add", number, "--condition", '{"nope": 1}'),
        ("triggers", "delete", number, one),
    ):
        assert served.cli(*words).code != 0


# --- kills ---


@contextmanager
def running(folder: Path, failpoint: str = "", url: str = "") -> Iterator[tuple[Served, Process]]:
    """A server on the same database as the one before; with a `failpoint` it will not end well."""
    database = ("--database-url", url) if url else ()
    server, ready = process(folder, *database, FAILPOINT=failpoint, LEASE_SECONDS="0.5", LOG_LEVEL="warning")
    ready.unlink(missing_ok=True)
    with server:
        with connected(server, ready) as served:
            yield served, server
        assert failpoint or server.stop() == 0, server.tail()


def found(served: Served, path: str) -> Any:
    """What is at `path`, once something is: items of a list, or an event that was handled."""
    for _ in range(1000):
        answer = served.rest("GET", path)
        if answer.get("items") or answer.get("handled"):
            return answer
        time.sleep(0.02)
    raise AssertionError(f"nothing came of {path}")


def only(served: Served, workflow: int) -> int:
    """The one execution of a workflow."""
    (one,) = found(served, f"/executions?workflow_id={workflow}")["items"]
    number: int = one["execution_id"]
    return number


@pytest.mark.parametrize(
    ("kind", "place", "again"),
    [
        ("sqlite", "event.stored", False),
        ("sqlite", "start.after", True),
        ("sqlite", "event.settle", False),
        ("postgresql", "event.stored", True),
        ("postgresql", "event.settle", False),
    ],
)
def test_an_event_whose_process_is_killed_starts_each_workflow_once(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, place: str, again: bool
) -> None:
    """Between the storing and the first start, between a start and its answer, and before all is written down."""
    url = request.getfixturevalue("migrated_postgres_url") if kind == "postgresql" else ""
    with running(tmp_path, f"{place}:kill:1", url) as (served, server):
        flows = [flow(served, trigger="killed") for _ in range(2)]
        with suppress(OSError, http.client.HTTPException):
            served.rest("POST", "/events?type=killed", {"x": 1}, **{"Idempotency-Key": "k"})
        assert server.wait() == -signal.SIGKILL
    with running(tmp_path, url=url) as (served, _):
        if again:
            assert served.rest("POST", "/events?type=killed", {"x": 1}, **{"Idempotency-Key": "k"})["replayed"]
        event = found(served, "/events/1")
        started = {one["workflow_id"]: one["execution_id"] for one in event["started"]}
        assert started == {number: only(served, number) for number in flows}
        assert {ended(served, execution).status for execution in started.values()} == {"completed"}


def test_a_look_back_whose_process_is_killed_is_made_up_for(tmp_path: Path) -> None:
    wait = {"id": "wait", "type": "wait_for_event", "data": {"event": "paid", "lookback": 600}}
    with running(tmp_path, "event.lookback:kill:1") as (served, server):
        number = flow(served, wait)
        served.rest("POST", "/events?type=paid", {"x": 1})
        with suppress(grpc.RpcError):
            served.execute(number)
        assert server.wait() == -signal.SIGKILL
    with running(tmp_path) as (served, _):
        view = ended(served, only(served, number))
        assert (view.status, view.output_json) == ("completed", '{"wait":{"x":1}}')


def test_what_a_killed_engine_has_published_is_followed(tmp_path: Path) -> None:
    """It dies when it has committed the completion and has not yet written down what its event has started."""
    tell = {"id": "tell", "type": "publish_event", "data": {"event": "told", "payload": {"x": 1}}}
    with running(tmp_path, "event.settle:kill:1") as (served, server):
        first, second = flow(served, tell), flow(served, trigger="told")
        with suppress(grpc.RpcError):
            served.execute(first)
        assert server.wait() == -signal.SIGKILL
    with running(tmp_path) as (served, _):
        started = found(served, "/events/1")["started"]
        assert [one["execution_id"] for one in started] == [only(served, second)]
        assert ended(served, only(served, second)).output_json == '{"one":{"x":1}}'
