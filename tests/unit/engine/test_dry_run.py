"""Dry runs: the engine's own run, without anything being done."""

from typing import Any, cast

import pytest
from msgspec import structs

from bootstrap import tasks
from bootstrap.settings import Settings
from engine import dry_run, limits
from engine.dry_run import DryRun, keys_of, rehearse
from engine.errors import TooLarge
from engine.mocks import read_mocks
from engine.sources import Source
from engine.yaml_documents import encode_yaml

NODES = tasks.catalog(Settings())
AUTHORING = tasks.authoring(NODES)
NOW = 1_800_000_000.0


def walk(document: dict[str, Any], value: Any = None, now: float = NOW, **mocks: Any) -> DryRun:
    source = Source(encode_yaml(document))
    read = AUTHORING.read(source)
    assert AUTHORING.report(source, read, {}).faults == ()
    compiled = AUTHORING.compile_read(read, {})
    known, faults = read_mocks(mocks, keys_of(compiled))
    assert faults == []
    return rehearse(compiled, NODES, {} if value is None else value, known, now)


def one(kind: str, config: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"tasks": [{"id": "a", "type": kind, "config": config or {}, **more}]}


def chain(*given: dict[str, Any]) -> dict[str, Any]:
    keys = [task["id"] for task in given]
    return {
        "tasks": [
            {**({"depends_on": [before]} if before else {}), **task}
            for before, task in zip([None, *keys], given, strict=False)
        ]
    }


HTTP = {"url": "https://example.com/{{input.id}}", "headers": {"Authorization": "Bearer {{secrets.token}}"}}


def test_what_has_no_effects_is_evaluated() -> None:
    done = walk(one("set", {"total": "{{input.a + input.b}}"}), {"a": 1, "b": 2})
    (step,) = done.steps
    assert (done.status, done.output, done.path, done.unknown) == ("completed", {"a": {"total": 3}}, ("a",), ())
    assert (step.calls, step.source, step.config, step.output) == (False, "evaluated", {"total": 3}, {"total": 3})


def test_what_has_effects_is_not_done_and_left_open() -> None:
    done = walk(one("http_request", HTTP), {"id": 7})
    (step,) = done.steps
    assert (done.status, done.output, done.unknown) == ("completed", {"a": None}, ("a",))
    assert (step.calls, step.source, step.status) == (True, "open", "completed")
    assert step.config == {"url": "https://example.com/7", "headers": {"Authorization": "Bearer {{secrets.token}}"}}


def test_a_mock_is_the_output_of_any_type() -> None:
    done = walk(one("http_request", HTTP), {"id": 7}, a={"output": {"status": 200}})
    assert (done.output, done.unknown, done.steps[0].source) == ({"a": {"status": 200}}, (), "mock")


@pytest.mark.parametrize("kind", sorted({*NODES.types()} - {"action"}))
def test_every_type_can_be_mocked(kind: str) -> None:
    """Also one that waits, starts or fans out: its mock is what it completes with."""
    written = {"tasks": [{"id": "a", "type": "noop"}, {"id": "b", "type": "set", "depends_on": ["a"]}]}
    source = Source(encode_yaml(written))
    read = AUTHORING.read(source)
    compiled = AUTHORING.compile_read(read, {})
    graph = compiled.graph.replace(b'"key":"a"', b'"key":"a","type":"%s"' % kind.encode())
    fitting = structs.replace(compiled, graph=graph)
    known, _ = read_mocks({"a": {"output": {"n": 1}}}, ("a",))
    done = rehearse(fitting, cast("Any", _Fitting()), {}, known, NOW)
    assert (done.status, done.steps[0].type, done.steps[0].output) == ("completed", kind, {"n": 1})


class _Fitting:
    """The real node types, to which every config is right."""

    def __getattr__(self, name: str) -> Any:
        return getattr(NODES, name)

    def check(self, call: Any) -> None:
        """It is."""


def test_what_depends_on_something_left_open_is_unknown_and_no_failure() -> None:
    document = chain(
        {"id": "fetch", "type": "http_request", "config": HTTP},
        {
            "id": "copy",
            "type": "set",
            "config": {"x": "{{fetch.output.body.x}}", "id": "{{input.id}}", "l": [1, "{{fetch.output}}"]},
        },
        {"id": "after", "type": "set", "config": {"x": "{{copy.output.x}}"}},
    )
    done = walk(document, {"id": 7})
    assert (done.status, done.unknown, done.warnings) == ("completed", ("fetch", "copy", "after"), ())
    copy = done.steps[1]
    assert copy.config == {"x": "{{fetch.output.body.x}}", "id": 7, "l": [1, "{{fetch.output}}"]}
    assert (copy.unknown, copy.source) == (("/l/1", "/x"), "open")
    known = walk(document, {"id": 7}, fetch={"output": {"body": {"x": 1}}})
    assert (known.output, known.unknown) == ({"after": {"x": 1}}, ())
    wrong = walk(document, {"id": 7}, fetch={"output": {"body": {}}})
    assert wrong.error is not None
    assert (wrong.status, wrong.error.type, wrong.error.task) == ("failed", "template", "copy")


BRANCH = chain(
    {"id": "fetch", "type": "http_request", "config": {"url": "https://example.com/"}},
    {
        "id": "route",
        "type": "branch",
        "config": {
            "cases": [
                {"label": "big", "condition": "{{fetch.output.total}} > 10", "next": "large"},
                {"else": True, "next": "small"},
            ]
        },
    },
) | {"name": "x"}
BRANCH["tasks"] += [
    {"id": "large", "type": "set"},
    {"id": "small", "type": "set"},
    {"id": "behind", "type": "set", "depends_on": ["small"]},
    {"id": "other", "type": "set"},
]


def test_a_branch_goes_its_way() -> None:
    done = walk(BRANCH, fetch={"output": {"total": 11}})
    statuses = {step.task: step.status for step in done.steps}
    assert (done.status, done.path) == ("completed", ("fetch", "other", "route", "large"))
    assert (statuses["small"], statuses["behind"]) == ("skipped", "skipped")
    assert next(step.label for step in done.steps if step.task == "route") == "big"
    assert walk(BRANCH, route={"label": "else"}).path == ("fetch", "other", "route", "small", "behind")


def test_a_branch_that_nobody_can_know_is_left_open() -> None:
    done = walk(BRANCH)
    statuses = {step.task: step.status for step in done.steps}
    assert done.status == "unknown"
    assert [(fault.code, fault.pointer) for fault in done.warnings] == [("unknown_way", "/mocks/route")]
    assert {key for key, status in statuses.items() if status == "unknown"} == {"large", "small", "behind"}
    route = next(step for step in done.steps if step.task == "route")
    assert route.config is not None
    assert route.config["cases"][0]["condition"] == "{{fetch.output.total}} > 10"
    assert route.unknown == ("/cases/0/condition",)


def test_a_condition_that_nobody_can_know_is_taken_to_hold() -> None:
    document = chain(
        {"id": "fetch", "type": "http_request", "config": {"url": "https://example.com/"}},
        {"id": "b", "type": "set", "when": "{{fetch.output.ok}}"},
    )
    done = walk(document)
    assert (done.path, done.warnings[0].code) == (("fetch", "b"), "unknown_condition")
    assert walk(document, fetch={"output": {"ok": False}}).steps[1].reason == "when"


def test_retries_pass_in_virtual_time() -> None:
    document = one("http_request", {"url": "https://example.com/"}, retry={"max_attempts": 3, "delay_seconds": 60})
    done = walk(document, a=[{"error": "no"}, {"error": {"type": "http_status", "message": "503"}}, {"output": 1}])
    assert [(step.attempt, step.status, step.at, step.waits) for step in done.steps] == [
        (1, "retrying", 0.0, 60.0),
        (2, "retrying", 60.0, 60.0),
        (3, "completed", 120.0, None),
    ]
    assert (done.status, done.elapsed, done.output) == ("completed", 120.0, {"a": 1})
    once = walk(document, a={"error": {"message": "no", "retryable": False}})
    assert (once.status, len(once.steps)) == ("failed", 1)
    ever = walk(document, a={"error": "no"})
    assert (ever.status, len(ever.steps), ever.error and ever.error.message) == ("failed", 3, "no")


def test_on_error_is_walked() -> None:
    document = one("http_request", {"url": "https://example.com/"}, on_error="mend")
    document["tasks"].append({"id": "mend", "type": "set", "config": {"why": "{{tasks.a.error.type}}"}})
    failed = walk(document, a={"error": {"type": "http_status", "message": "500"}})
    assert (failed.status, failed.output) == ("completed", {"mend": {"why": "http_status"}})
    assert walk(document, a={"output": 1}).path == ("a",)
    goes_on = chain({"id": "a", "type": "fail", "on_error": "continue"}, {"id": "b", "type": "set"})
    assert walk(goes_on).path == ("a", "b")


@pytest.mark.parametrize(
    ("config", "waits"),
    [({"ms": 1500}, 1.5), ({"duration_seconds": 86_400}, 86_400.0), ({"until": "2027-01-15T08:00:10Z"}, 10.0)],
)
def test_a_wait_takes_no_time(config: dict[str, Any], waits: float) -> None:
    document = chain(
        {"id": "w", "type": "delay", "config": config}, {"id": "b", "type": "set", "config": {"t": "{{now}}"}}
    )
    done = walk(document)
    assert (done.steps[0].waits, done.steps[1].at, done.elapsed) == (waits, waits, waits)
    assert done.steps[1].output["t"] > "2027-01-15T08:00:00"


def test_noop_takes_its_time_virtually() -> None:
    assert walk(one("noop", {"duration": 3600})).elapsed == 3600


def test_what_fails_says_why() -> None:
    assert walk(one("fail", {"message": "no"})).error is not None
    missing = walk(one("set", {"x": "{{input.nothing}}"}))
    assert (missing.status, missing.steps[0].status) == ("failed", "failed")
    config = walk(one("http_request", {"url": "{{input.url}}", "timeout": "{{input.t}}"}), {"url": "x", "t": "long"})
    assert config.error is not None
    assert config.error.type == "invalid_config"
    action = walk({"start_at": "a", "steps": {"a": {}}})
    assert action.error is not None
    assert action.error.type == "unknown_action"
    assert walk({"start_at": "a", "steps": {"a": {}}}, a={"output": 1}).status == "completed"
    astray = walk(BRANCH, route={"label": "nowhere"})
    assert astray.error is not None
    assert astray.error.type == "unknown_label"


def test_it_is_the_same_every_time() -> None:
    first, second = (walk(BRANCH, fetch={"output": {"total": 1}}) for _ in range(2))
    assert first == second


def test_it_shows_no_more_than_can_be_read() -> None:
    text = "x" * (limits.PAYLOAD // 2)
    document = {"tasks": [{"id": f"t{n}", "type": "set", "config": {"x": "{{input}}"}} for n in range(20)]}
    with pytest.raises(TooLarge, match="bytes"):
        walk(document, text)


def test_it_takes_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "SECONDS", -1.0)
    with pytest.raises(TooLarge, match="longer"):
        walk(one("set"))


def test_a_large_definition_is_walked() -> None:
    document = {"tasks": [{"id": f"t{n}", "type": "noop"} for n in range(2000)]}
    assert len(walk(document).steps) == 2000


@pytest.mark.parametrize(
    ("mocks", "pointers"),
    [
        ([], [""]),
        ({"aa": {}}, ["/aa"]),
        ({"a": 1}, ["/a"]),
        ({"a": []}, ["/a"]),
        ({"a": {"outptu": 1, "labl": "x"}}, ["/a/outptu", "/a/labl"]),
        ({"a": {"output": 1, "error": "x"}}, ["/a"]),
        ({"a": {"label": 1}}, ["/a/label"]),
        ({"a": {"label": "@error"}}, ["/a/label"]),
        ({"a": [{"output": 1}, {"error": 1}]}, ["/a/1/error"]),
        (
            {"a": {"error": {"type": 1, "mesage": "x", "retryable": "no"}}},
            ["/a/error/mesage", "/a/error/type", "/a/error/retryable"],
        ),
    ],
)
def test_mocks_that_are_wrong(mocks: Any, pointers: list[str]) -> None:
    _, faults = read_mocks(mocks, ("a",))
    assert [fault.pointer for fault in faults] == pointers


def test_a_field_that_nobody_reads_gets_a_suggestion() -> None:
    _, faults = read_mocks({"fetsh": {"ouput": 1}}, ("fetch",))
    assert [fault.message for fault in faults] == [
        "there is no task 'fetsh', did you mean 'fetch'?",
        "there is no field 'ouput', did you mean 'output'?",
    ]


def test_what_waits_for_people_says_for_whom_and_how_long_and_is_left_open() -> None:
    document = chain(
        {"id": "ask", "type": "approval", "config": {"approvers": ["ana"], "timeout": 3600}},
        {"id": "b", "type": "set"},
    )
    step = walk(document).steps[0]
    assert (step.source, step.calls, step.waits) == ("open", False, 3600.0)
    assert step.reason is not None
    assert "ana" in step.reason
    decided = walk(document, ask={"label": "approved", "output": {"decision": "approved", "by": "ana"}})
    assert (decided.status, decided.steps[0].label, decided.unknown) == ("completed", "approved", ())


def test_what_was_done_is_undone() -> None:
    undo = {
        "type": "http_request",
        "config": {"url": "https://example.com/{{book.output.id}}", "body": "{{error.type}}"},
    }
    document = chain(
        {"id": "book", "type": "http_request", "config": {"url": "https://example.com/"}, "compensate": undo},
        {"id": "pay", "type": "http_request", "config": {"url": "https://example.com/"}},
    )
    done = walk(document, book={"output": {"id": 7}}, pay={"error": {"type": "broke", "message": "no"}})
    assert (done.status, done.path) == ("failed", ("book", "pay", "book~compensate"))
    last = done.steps[-1]
    assert (last.calls, last.source, last.config) == (True, "open", {"url": "https://example.com/7", "body": "broke"})
    open_one = walk(document, pay={"error": "no"}).steps[-1]
    assert (open_one.status, open_one.unknown) == ("completed", ("/url",))
    mocked: dict[str, Any] = {
        "book~compensate": {"error": "gone"},
        "pay": {"error": "no"},
        "book": {"output": {"id": 7}},
    }
    failed = walk(document, **mocked)
    assert failed.error is not None
    assert "compensation of 'book' failed" in failed.error.message
