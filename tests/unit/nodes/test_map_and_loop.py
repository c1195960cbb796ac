"""`map` and `loop`: how they are written, what is found at save, and what they answer."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine import limits, registry
from engine.authoring import Authoring, Report
from engine.errors import TaskError
from engine.model import FanOut
from engine.sources import Source
from tests.unit.nodes.harness import CATALOG, call_of, failure, faults, run

AUTHORING = Authoring(registry.scan("definitions", "dialect"), CATALOG)
NOOP = {"type": "noop", "config": {"of": "{{item}}"}}
UNKNOWN = "template_unknown_path"
ROUND = {"type": "noop", "config": {"of": "{{round}} {{last}}"}}


def inspected(config: dict[str, Any], kind: str = "map", **before: Any) -> Report:
    steps = {**before, "m": {"type": kind, "config": config}}
    return AUTHORING.inspect(Source(json.dumps({"start_at": next(iter(steps)), "steps": steps}).encode()))


def wrong(config: dict[str, Any], kind: str = "map") -> list[tuple[str, str]]:
    """Pointers below the config, and codes, of all that is found at save."""
    return [(fault.pointer.removeprefix("/steps/m/config"), fault.code) for fault in inspected(config, kind).faults]


def of(template: str) -> dict[str, Any]:
    """A map whose body refers to something."""
    return {"items": [], "task": {"type": "noop", "config": {"x": template}}}


# --- what is found at save ---


def test_a_body_is_checked_as_a_task_is() -> None:
    body: dict[str, Any] = {"type": "htpp_request", "config": {"url": "{{item}}"}}
    (fault,) = inspected({"items": [], "task": body}).faults
    assert "did you mean 'http_request'" in fault.message
    assert fault.pointer == "/steps/m/config/task/type"
    body = {"type": "http_request", "config": {"url": "{{item}}", "methd": "GET"}, "timeout": -1, "executor": "x"}
    assert wrong({"items": [], "task": body}) == [
        ("/task/config/methd", "unknown_field"),
        ("/task/executor", "unknown_executor"),
        ("/task/timeout", "out_of_range"),
    ]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"items": []}, ("/task", "required")),
        ({"task": NOOP}, ("/items", "required")),
        ({"items": [], "task": "noop"}, ("/task", "invalid_config")),
        ({"items": [], "task": {"config": {}}}, ("/task", "invalid_config")),
        ({"items": [], "task": {**NOOP, "config": 5}}, ("/task/config", "invalid_config")),
        ({"items": [], "task": {**NOOP, "on_error": "continue"}}, ("/task", "invalid_config")),
        ({"items": [], "task": {**NOOP, "when": True}}, ("/task", "invalid_config")),
        ({"items": 5, "task": NOOP}, ("/items", "invalid_config")),
        ({"items": [], "task": NOOP, "max_parallel": 0}, ("/max_parallel", "invalid_config")),
        ({"items": [], "task": NOOP, "max_parallel": 1001}, ("/max_parallel", "invalid_config")),
        ({"items": [], "task": NOOP, "tolerate_failures": -1}, ("/tolerate_failures", "invalid_config")),
        ({"items": [], "task": NOOP, "parallel": 1}, ("/parallel", "unknown_field")),
        ({"items": "{{item}}", "task": NOOP}, ("/items", UNKNOWN)),
        (of("{{round}}"), ("/task/config/x", UNKNOWN)),
        (of("{{tasks.z.output}}"), ("/task/config/x", "template_unknown_task")),
        (of("{{tasks.m.output}}"), ("/task/config/x", "template_not_ancestor")),
        (of("{{secrets.s}}"), ("/task/config/x", "template_secret")),
        ({"items": [], "task": {**NOOP, "concurrency_key": "{{items}}"}}, ("/task/concurrency_key", UNKNOWN)),
        ({"items": [], "task": {"type": "map", "config": {"task": NOOP}}}, ("/task/config/items", "required")),
        ({"items": [], "task": {"type": "branch", "config": {"cases": [{"condition": "{{itm}} > 1", "label": "a"}]}}},
         ("/task/config/cases/0/condition", UNKNOWN)),
    ],
)  # fmt: skip
def test_each_fault_of_a_map_has_its_place(config: dict[str, Any], found: tuple[str, str]) -> None:
    assert wrong(config) == [found]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"task": ROUND}, ("", "invalid_config")),
        ({"task": ROUND, "until": True, "while": True}, ("", "invalid_config")),
        ({"task": ROUND, "until": 5}, ("/until", "invalid_condition")),
        ({"task": ROUND, "until": "{{round}} >"}, ("/until", "invalid_condition")),
        ({"task": ROUND, "until": "{{item}} > 1"}, ("/until", UNKNOWN)),
        ({"task": ROUND, "until": {"<": [{"var": "last.n"}, {"nope": 1}]}}, ("/until/</1/nope", "jsonlogic")),
        ({"task": ROUND, "until": True, "max_rounds": 10_001}, ("/max_rounds", "invalid_config")),
        ({"task": {**ROUND, "config": {"x": "{{item}}"}}, "until": True}, ("/task/config/x", UNKNOWN)),
    ],
)
def test_each_fault_of_a_loop_has_its_place(config: dict[str, Any], found: tuple[str, str]) -> None:
    assert wrong(config, "loop") == [found]


@pytest.mark.parametrize(
    ("field", "value"),
    [("retry", {"max_attempts": 2}), ("timeout", 5), ("executor", "asyncio"), ("concurrency_key", "{{input}}")],
)
def test_what_concerns_one_run_is_said_inside(field: str, value: Any) -> None:
    step = {"type": "map", "config": {"items": [], "task": {**NOOP, field: value}}}
    document = {"start_at": "m", "steps": {"m": step}}
    assert AUTHORING.inspect(Source(json.dumps(document).encode())).faults == ()
    step[field] = value
    (fault,) = AUTHORING.inspect(Source(json.dumps(document).encode())).faults
    assert (fault.pointer, fault.code) == (f"/steps/m/{field}", "belongs_inside")


def test_a_compensation_is_one_task() -> None:
    undo = {"type": "for_each", "config": {"items": [], "task": NOOP}}
    document = {"start_at": "m", "steps": {"m": {"type": "noop", "compensate": undo}}}
    (fault,) = AUTHORING.inspect(Source(json.dumps(document).encode())).faults
    assert (fault.pointer, fault.code) == ("/steps/m/compensate/type", "not_allowed")


def test_what_is_inside_knows_what_is_around_it() -> None:
    inner = {"type": "noop", "config": {"x": "{{item}} {{index}} {{round}} {{last}} {{input.y}} {{tasks.a.output}}"}}
    loop = {"type": "loop", "config": {"task": inner, "until": "{{item}} == {{round}}"}}
    report = inspected({"items": "{{tasks.a.output}}", "task": loop}, a={"type": "noop", "next": "m"})
    assert [fault.message for fault in report.faults] == []


def test_what_the_page_shows_can_be_saved() -> None:
    shown = re.findall(r"```yaml\n(.*?)```", Path("docs/workflows.md").read_text(), re.DOTALL)
    shown = [text for text in shown if re.search("type: (map|loop)", text)]
    assert len(shown) == 2
    for text in shown:
        report = AUTHORING.inspect(Source(text.encode()))
        assert not report.faults, report.faults


# --- one spelling ---


def test_the_same_meaning_is_stored_the_same() -> None:
    retry = {"max_attempts": 3, "initial_interval": 5, "backoff_coefficient": 1}
    plain: dict[str, Any] = {"type": "http_request", "config": {"url": "{{item}}"}, "retry": retry, "timeout": 30}
    other: dict[str, Any] = {**plain, "type": "http_call", "timeout": "30s", "concurrency_limit": 1}
    other["retry"] = {"max_attempts": 3, "delay_seconds": 5}
    first = inspected({"items": "{{input}}", "task": plain, "max_parallel": 5})
    second = inspected({"items": "{{input}}", "task": other, "maxParallel": 5}, "for_each")
    assert first.digest is not None
    assert first.digest == second.digest
    assert inspected({"items": "{{input}}", "task": {**plain, "timeout": 31}, "max_parallel": 5}).digest != first.digest


def test_a_misspelled_retry_is_no_retry() -> None:
    body = {**NOOP, "retry": {"max_atempts": 3}}
    assert wrong({"items": [], "task": body}) == [("/task/retry/max_atempts", "unknown_field")]
    assert faults("map", {"items": [], "task": body}) == ["/config/task/retry"]


def test_conditions_inside_are_known() -> None:
    branch = {"type": "branch", "config": {"cases": [{"condition": "{{item}} > 1", "label": "a"}]}}
    kind, config = CATALOG.canonical("for_each", {"items": [], "task": branch})
    assert kind == "map"
    assert CATALOG.conditions(kind, config) == ("/task/config/cases/0/condition",)


# --- what they answer ---


@pytest.mark.parametrize(
    ("given", "tolerated"),
    [(0, 0), (3, 3), (3.0, 3), (0.5, 5), (0.19, 1), ("20%", 2), ("100%", 10), ("0.5 %", 0), (10_000, 10_000)],
)
async def test_failures_are_tolerated_by_number_or_part(given: Any, tolerated: int) -> None:
    config = {"items": list(range(10)), "task": NOOP, "tolerate_failures": given}
    assert await run("map", config) == FanOut(10, 10, tolerated)


@pytest.mark.parametrize("given", [1.5, "many", "101%", "-1%", "20"])
async def test_a_tolerance_that_means_nothing_is_refused(given: Any) -> None:
    config = {"items": [1], "task": NOOP, "tolerate_failures": given}
    assert (await failure("map", config)).type == "invalid_config"


async def test_too_many_items_are_refused() -> None:
    assert await run("map", {"items": [0] * limits.ITEMS, "task": NOOP}) == FanOut(limits.ITEMS, 10)
    error = await failure("map", {"items": [0] * (limits.ITEMS + 1), "task": NOOP})
    assert (error.type, error.retryable) == ("too_many_items", False)
    assert "10001" in str(error)


async def test_what_is_rendered_to_no_list_is_refused() -> None:
    with pytest.raises(TaskError, match="items"):
        await run("map", {"items": {"a": 1}, "task": NOOP})


async def test_a_loop_answers_its_bound() -> None:
    assert await run("loop", {"task": ROUND, "until": "{{last.done}}"}) == FanOut(1000)
    assert await run("loop", {"task": ROUND, "while": "{{round}} < 3", "max_rounds": 7}) == FanOut(7)
    assert call_of("loop", {"task": ROUND, "until": True}).config["task"] == ROUND


@pytest.mark.parametrize("kind", ["map", "loop"])
def test_its_schema_tells_of_the_task_inside(kind: str) -> None:
    schema = CATALOG.describe(kind).schema
    assert {"type", "config", "retry", "timeout"} <= schema["$defs"]["Body"]["properties"].keys()
