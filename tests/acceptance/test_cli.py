"""`python cli.py …` as its user types it, against a running server."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.processes import ROOT
from deploy.servers import free_port
from tests.acceptance.serving import Done, Served, call_cli, connected, process, run_cli


def said(done: Done) -> str:
    """What a command that went well printed."""
    assert (done.code, done.err) == (0, ""), done.err
    return done.out


def answered(done: Done) -> Any:
    return json.loads(said(done))


def refused(done: Done, code: int = 1) -> str:
    """The one line of a command that failed."""
    assert (done.code, done.out) == (code, "")
    if code == 1:
        assert done.err.startswith("error: ")
        assert done.err.count("\n") == 1
    return done.err


# --- the documented calls ---


def test_no_argument_shows_help() -> None:
    text = said(run_cli())
    for command in ("create", "list", "get", "add-task", "execute", "status", "watch", "cancel", "serve", "db"):
        assert f" {command} " in text


def test_the_documented_story(served: Served) -> None:
    def typed(*words: str) -> str:
        return said(run_cli(*words, **served.settings))

    created = typed("create", "My Workflow", "--description", "A simple workflow")
    assert created.endswith("created: My Workflow\n")
    workflow = created.split()[1]
    typed("add-task", workflow, "My Task", "--order", "1", "--parameters", "{}")
    listed = typed("list", "--skip", "0", "--limit", "1000")
    assert any("My Workflow" in line and "1 task " in line for line in listed.splitlines())
    assert "My Task" in typed("get", workflow)
    started = typed("execute", workflow)
    execution = started.split()[1]
    assert f"watch {execution}" in started
    assert "ExecutionCompleted" in typed("watch", execution)
    assert typed("status", execution).startswith(f"execution {execution} of workflow {workflow}: completed")
    assert "TaskCompleted" in typed("history", execution)
    assert "deleted" in typed("delete", workflow)


def test_children_are_shown_and_listed(served: Served) -> None:
    inner = served.workflow({"type": "set", "parameters": {"v": 1}})
    outer = served.workflow({"key": "call", "type": "sub_workflow", "parameters": {"workflow": inner}})
    ended = answered(served.cli("execute", str(outer), "--wait", "20", "--json"))
    parent, child = ended["execution_id"], ended["tasks"][0]["child_id"]
    assert (ended["status"], ended["parent_id"], ended["root_id"]) == ("completed", None, None)
    assert f"call  {child}" in said(served.cli("status", str(parent)))
    assert f"(child of {parent}): completed" in said(served.cli("status", str(child)))
    assert answered(served.cli("status", str(child), "--json"))["root_id"] == parent
    (listed,) = answered(served.cli("executions", "--parent", str(parent), "--json"))["executions"]
    assert (listed["execution_id"], listed["parent_id"]) == (child, parent)


# --- machines ---


def test_every_answer_is_json_when_asked(served: Served) -> None:
    workflow = answered(served.cli("create", "W", "--key", "json-key", "--json"))
    ref = str(workflow["id"])
    task = answered(
        served.cli(
            *("add-task", "json-key", "T", "--key", "t", "--type", "set", "--execution-type", "async", "--json"),
            *("--parameters", '{"v": "{{input.x}}"}', "--retry", '{"max_attempts": 2}', "--timeout", "5"),
            *("--when", "true", "--on-error", "continue"),
        )
    )
    assert (task["key"], task["retry"]["max_attempts"], task["timeout"]) == ("t", 2, 5)
    assert (task["when"], task["on_error"], task["execution_type"]) == (True, "continue", "async")
    after = answered(served.cli("add-task", ref, "U", "--depends-on", "t", "--when", "{{input.y}}", "--json"))
    assert (after["depends_on"], after["when"]) == (["t"], "{{input.y}}")
    assert answered(served.cli("update", ref, "--name", "V", "--json"))["name"] == "V"
    assert [t["key"] for t in answered(served.cli("get", ref, "--json"))["tasks"]] == ["t", after["key"]]
    assert "json-key" in [w["key"] for w in answered(served.cli("list", "--json", "--limit", "1000"))]
    ended = answered(
        served.cli("execute", ref, "--input", '{"x": 9007199254740993, "y": false}', "--wait", "20", "--json")
    )
    assert (ended["status"], ended["tasks"][0]["output"]) == ("completed", {"v": 2**53 + 1})
    execution = str(ended["execution_id"])
    assert answered(served.cli("status", execution, "--json")) == ended
    assert answered(served.cli("status", execution, "--brief", "--json"))["tasks"][0]["output"] is None
    events = answered(served.cli("history", execution, "--json"))
    watched = [json.loads(line) for line in said(served.cli("watch", execution, "--json")).splitlines()]
    assert watched == events
    assert answered(served.cli("history", execution, "--after", "2", "--json")) == events[2:]
    page = answered(served.cli("executions", "--workflow", "json-key", "--status", "completed", "--json"))
    assert [e["execution_id"] for e in page["executions"]] == [ended["execution_id"]]
    assert answered(served.cli("delete", ref, "--json")) == {"deleted": ref}


def test_input_comes_from_a_file_or_from_stdin(served: Served, tmp_path: Path) -> None:
    workflow = str(served.workflow({"key": "t", "type": "set", "parameters": {"v": "{{input.x}}"}}))
    file = tmp_path / "input.json"
    file.write_text('{"x": "é"}')
    for words, stdin in (((f"@{file}",), ""), (("@-",), file.read_text())):
        ended = answered(served.cli("execute", workflow, "--input", *words, "--wait", "20", "--json", stdin=stdin))
        assert ended["output"] == {"t": {"v": "é"}}


def test_one_idempotency_key_is_one_execution(served: Served) -> None:
    workflow = str(served.workflow({"parameters": {}}))
    words = ("execute", workflow, "--idempotency-key", "k", "--json")
    first, again = answered(served.cli(*words)), answered(served.cli(*words))
    assert first["execution_id"] == again["execution_id"]
    assert (first["replayed"], again["replayed"]) == (False, True)


def test_an_execution_is_cancelled_and_signalled(served: Served) -> None:
    workflow = served.workflow({"type": "delay", "parameters": {"duration_seconds": 3600}})
    signalled = str(served.execute(workflow).execution_id)
    assert "delivered" in said(served.cli("signal", signalled, "go", "--payload", '{"n": 1}'))
    execution = str(served.execute(workflow).execution_id)
    assert "cancelled" in said(served.cli("cancel", execution, "--reason", "enough"))
    assert "already" not in refused(served.cli("cancel", execution))
    assert "enough" in said(served.cli("history", execution))
    done = served.cli("watch", execution)
    assert (done.code, done.err) == (1, "")


def test_a_cancel_says_that_something_is_undone_first(served: Served) -> None:
    workflow = str(served.workflow())
    undo = '{"type": "delay", "config": {"duration_seconds": 3600}}'
    assert answered(served.cli("add-task", workflow, "T", "--key", "t", "--compensate", undo, "--json"))["compensate"]
    wait = ("--type", "delay", "--parameters", '{"duration_seconds": 3600}')
    served.cli("add-task", workflow, "W", *wait)
    execution = str(served.execute(int(workflow)).execution_id)
    while served.rest("GET", f"/executions/{execution}")["status"] != "waiting":
        time.sleep(0.02)
    assert "is being undone first" in said(served.cli("cancel", execution))
    shown = said(served.cli("status", execution))
    assert ": compensating, cancel requested" in shown
    assert "t~compensate" in shown


def test_waiting_for_a_failure_or_in_vain_is_exit_code_1(served: Served) -> None:
    fails = str(served.workflow({"type": "set", "parameters": {"v": "{{input.nope}}"}}))
    done = served.cli("execute", fails, "--wait", "20")
    assert (done.code, done.err) == (1, "")
    assert "input.nope" in done.out
    sleeps = str(served.workflow({"type": "delay", "parameters": {"duration_seconds": 3600}}))
    assert served.cli("execute", sleeps, "--wait", "0.2").code == 1


# --- refusals ---

NOWHERE = {"REST_API_URL": "http://127.0.0.1:1", "GRPC_API_URL": "127.0.0.1:1"}


@pytest.mark.parametrize(
    "words", [("list",), ("create", "x"), ("execute", "1"), ("status", "1"), ("watch", "1"), ("executions",)]
)
def test_a_server_that_is_down_is_one_clear_line(words: tuple[str, ...]) -> None:
    line = refused(call_cli(*words, **NOWHERE))
    assert "no answer from" in line
    assert "127.0.0.1:1" in line
    assert "serve" in line


def test_addresses_that_are_none_are_one_clear_line(served: Served) -> None:
    assert "REST_API_URL" in refused(call_cli("list", REST_API_URL="localhost:8000"))
    assert "REST_API_URL" in refused(call_cli("list", REST_API_URL="http://localhost:port"))
    assert "GRPC_API_URL" in refused(call_cli("status", "1", GRPC_API_URL="not a host"))
    assert refused(call_cli("list", REST_API_URL=f"http://{served.target}"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("get", "987654321"), "no workflow 987654321"),
        (("get", "no such key"), "no workflow"),
        (("delete", "nope"), "no workflow"),
        (("update", "nope", "--name", "x"), "no workflow"),
        (("add-task", "nope", "x"), "no workflow"),
        (("execute", "987654321"), "no workflow 987654321"),
        (("execute", "nope"), "no workflow"),
        (("status", "987654321"), "no execution 987654321"),
        (("watch", "987654321"), "no execution 987654321"),
        (("history", "987654321"), "no execution 987654321"),
        (("cancel", "987654321"), "no execution 987654321"),
        (("signal", "987654321", "x"), "no execution 987654321"),
        (("executions", "--status", "done"), "/statuses/0"),
        (("executions", "--created-from", "today"), "RFC 3339"),
        (("create", "x" * 10_000), "200"),
        (("create", ""), "/name"),
        (("create", "x", "--key", "123"), "/key"),
        (("execute", "1" * 30), "no workflow"),
    ],
)
def test_what_does_not_exist_or_cannot_be(served: Served, words: tuple[str, ...], expected: str) -> None:
    assert expected in refused(served.cli(*words))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--type", "nope"), "nope"),
        (("--key", "taken"), "taken"),
        (("--depends-on", "nope"), "nope"),
        (("--parameters", '{"duration": -1}'), "duration"),
        (("--parameters", '{"v": "{{tasks.nope.output}}"}'), "nope"),
        (("--timeout", "-1"), "timeout"),
        (("--retry", '{"max_attempts": 0}'), "max_attempts"),
    ],
)
def test_a_task_that_cannot_be(served: Served, options: tuple[str, ...], expected: str) -> None:
    workflow = str(served.workflow({"key": "taken"}))
    assert expected in refused(served.cli("add-task", workflow, "x", *options))
    assert len(served.rest("GET", f"/workflows/{workflow}")["tasks"]) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("nope",),
        ("create",),
        ("status", "x"),
        ("status", "0"),
        ("status", "9" * 20),
        ("executions", "--parent", "9" * 20),
        ("triggers", "delete", "1", "9" * 20),
        ("list", "--limit", "0"),
        ("update", "1"),
        ("add-task", "1", "x", "--execution-type", "later"),
        ("add-task", "1", "x", "--parameters", '{"a": NaN}'),
        ("add-task", "1", "x", "--parameters", '{"a": 1, "a": 2}'),
        ("execute", "1", "--input", "@no/such/file"),
        ("serve", "--rest-port", "70000"),
    ],
)
def test_bad_usage_is_exit_code_2(words: tuple[str, ...]) -> None:
    assert "Traceback" not in refused(call_cli(*words), code=2)


def test_bad_input_is_refused_by_the_server(served: Served) -> None:
    workflow = str(served.workflow())
    for value, expected in (
        ("NaN", "NaN"),
        ("[" * 1000 + "]" * 1000, "deep"),
        ("{", "JSON"),
        ('"\\ud800"', "surrogate"),
    ):
        assert expected in refused(served.cli("execute", workflow, "--input", value))


# --- serve ---


def test_settings_that_cannot_be_are_one_clear_line(tmp_path: Path) -> None:
    assert "mysql" in refused(run_cli("serve", "--database-url", "mysql://x/y"))
    assert "LEASE_SECONDS" in refused(run_cli("serve", LEASE_SECONDS="x"))
    assert refused(call_cli("db", "upgrade", "--database-url", f"sqlite:///{tmp_path}/no/such/folder/x.db"))
    assert refused(call_cli("db", "current", "--database-url", "postgresql://nobody@127.0.0.1:1/x"))


def test_the_schema_is_upgraded_and_shown(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    assert answered(call_cli("db", "current", "--database-url", url, "--json"))["current"] is None
    made = answered(call_cli("db", "upgrade", "--database-url", url, "--json"))
    assert made["before"] is None
    now = answered(call_cli("db", "current", "--json", DATABASE_URL=url))
    assert now["current"] == now["head"] == made["after"]
    assert "up to date" in said(call_cli("db", "upgrade", "--database-url", url))


def test_serve_prints_where_it_listens(tmp_path: Path) -> None:
    server, ready = process(tmp_path)
    with server:
        server.wait_ready(ready.exists)
        addresses = json.loads(ready.read_text())
        assert addresses["pid"] == server.pid
        assert server.stop() == 0
    assert f"REST  {addresses['rest']}" in server.tail()
    assert f"gRPC  {addresses['grpc']}" in server.tail()


def test_a_watch_outlives_its_server(tmp_path: Path) -> None:
    """`kill -9` in the middle: the watch goes on where it was, with the server that comes back."""
    ports = ("--rest-port", str(free_port()), "--grpc-port", str(free_port()))
    server, ready = process(tmp_path, *ports)
    with server, connected(server, ready) as served:
        workflow = served.workflow(*({"parameters": {"duration": 1.5}} for _ in range(6)))
        execution = str(served.execute(workflow).execution_id)
        # into files: a pipe that is read by lines and then to its end loses what was buffered in between
        out, err = tmp_path / "events", tmp_path / "errors"
        with out.open("wb") as events_to, err.open("wb") as errors_to:
            watch = subprocess.Popen(
                [sys.executable, "cli.py", "watch", execution, "--json"],
                cwd=ROOT,
                env={**os.environ, "GRPC_API_URL": served.target},
                stdout=events_to,
                stderr=errors_to,
            )
        with watch:
            while not out.stat().st_size and watch.poll() is None:
                time.sleep(0.01)
            server.kill()
            server.start()
            code = watch.wait(timeout=60)
    errors, events = err.read_text(), [json.loads(line) for line in out.read_text().splitlines()]
    assert code == 0, errors
    assert errors.count("trying again") == 1
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "ExecutionCompleted"
    assert "Traceback" not in errors
