"""*Steps*: what named steps mean as a graph."""

from typing import Any

import pytest

from engine.graph import END, ERROR_LABEL
from engine.model import Budget, Edge, RetryPolicy, Task
from tests.unit.definitions.words import edges, faults, graph, inspect, read, warnings


def steps(start: Any = "a", **each: Any) -> dict[str, Any]:
    return {"start_at": start, "steps": each}


def test_each_step_is_followed_by_its_next() -> None:
    document = steps(a={"next": "b"}, b={"next": ["c", "d"]}, c={"next": "end"}, d={}, e={"next": "a"})
    del document["steps"]["e"]
    assert edges(document) == {"a>b", "b>c", "b>d"}


def test_it_may_begin_at_several() -> None:
    assert edges(steps(["a", "b"], a={"next": "c"}, b={"next": "c"}, c={})) == {"a>c", "b>c"}


def test_next_by_label_and_the_end() -> None:
    document = steps(a={"type": "noop", "next": {"yes": "b", "no": "end", "*": "c"}}, b={}, c={})
    assert edges(document) == {"a-yes>b", "a-no>", "a>c"}
    assert Edge("a", END, "no") in graph(document).edges


def test_a_step_without_a_type_is_an_action() -> None:
    document = steps(a={"next": "b"}, b={"action": "send", "to": "x"})
    assert graph(document).tasks == (
        Task("a", "action", {"action": "a"}),
        Task("b", "action", {"action": "send", "config": {"to": "x"}}),
    )
    assert warnings(document) == [("unknown_action", "/steps/a"), ("unknown_action", "/steps/b")]


def test_what_a_step_has_beyond_the_options_is_its_config() -> None:
    document = steps(a={"type": "delay", "duration_seconds": 5, "timeout": "2m", "config": {"x": 1}})
    assert graph(document).tasks == (Task("a", "delay", {"x": 1, "duration_seconds": 5}, timeout=120.0),)


def test_delay_seconds_is_every_wait() -> None:
    (task,) = graph(steps(a={"retry": {"max_attempts": 3, "delay_seconds": 5}})).tasks
    assert task.retry == RetryPolicy(3, 5.0, 1.0)


def test_a_branch() -> None:
    cases = [{"condition": {"==": [1, 1]}, "next": "b"}, {"label": "big", "condition": True, "next": "end"}]
    document = steps(a={"type": "branch", "cases": cases, "else": "c"}, b={}, c={})
    assert edges(document) == {"a-b>b", "a-big>", "a-else>c"}
    assert graph(document).tasks[0].config == {
        "cases": [
            {"condition": {"==": [1, 1]}, "label": "b"},
            {"condition": True, "label": "big"},
            {"else": True, "label": "else"},
        ]
    }


def test_what_nothing_leads_to_is_left_out_with_a_warning() -> None:
    document = steps(a={"next": "b", "on_error": "h"}, b={}, h={}, z={"next": "b"})
    assert [task.key for task in graph(document).tasks] == ["a", "b", "h"]
    assert edges(document) == {"a>b", f"a-{ERROR_LABEL}>h"}
    assert ("unreachable", "/steps/z") in warnings(document)


def test_a_target_that_does_not_exist_is_a_warning() -> None:
    document = steps(a={"type": "noop", "next": "bb"}, b={"type": "noop"})
    assert faults(document) == []
    assert warnings(document) == [("unreachable", "/steps/b"), ("unknown_target", "/steps/a/next")]
    assert graph(document).edges == (Edge("a", "bb"),)


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"steps": {"a": {}}}, ("required", "/start_at")),
        (steps("b", a={}), ("unknown_task", "/start_at")),
        (steps(7, a={}), ("invalid_value", "/start_at")),
        (steps(a=[]), ("invalid_value", "/steps/a")),
        (steps(a={"next": 5}), ("invalid_value", "/steps/a/next")),
        (steps(a={"next": "end"}, end={}), ("invalid_key", "/steps/end")),
        (steps("a b", **{"a b": {}}), ("invalid_key", "/steps/a b")),
        (steps(a={"type": "noop", "bad": 1}), ("invalid_config", "/steps/a/bad")),
        (steps(a={"type": "noop", "config": {"bad": 1}}), ("invalid_config", "/steps/a/config/bad")),
        (steps(a={"type": "nop"}), ("unknown_node_type", "/steps/a/type")),
        (steps(a={"next": "b"}, b={"next": "a"}), ("cycle", "/steps/a/next")),
        (steps(a={"retry": {"max_attempt": 1}}), ("unknown_field", "/steps/a/retry/max_attempt")),
        (steps(a={"retry": {"attempts": 1, "max_attempts": 1}}), ("invalid_value", "/steps/a/retry/max_attempts")),
        (steps(a={"retry": {"delay": 1, "backoff": "sometimes"}}), ("invalid_value", "/steps/a/retry/backoff")),
        (steps(a={"retry": {"max_attempts": 0}}), ("invalid_value", "/steps/a/retry/max_attempts")),
        (steps(a={"timeout": "soon"}), ("invalid_value", "/steps/a/timeout")),
        (steps(a={"timeout": -1}), ("out_of_range", "/steps/a/timeout")),
        (steps(a={"on_error": "nobody"}), ("unknown_task", "/steps/a/on_error")),
        ({"steps": []}, ("invalid_value", "/steps")),
        ({"steps": {}, "key": "17"}, ("invalid_key", "/key")),
        ({"steps": {}, "key": "x", "unique_name": "y"}, ("invalid_value", "/unique_name")),
        ({"steps": {}, "max_concurrency": 0}, ("out_of_range", "/max_concurrency")),
        ({"steps": {}, "timeout": 0}, ("out_of_range", "/timeout")),
        ({"steps": {}, "timeout": "soon"}, ("invalid_value", "/timeout")),
        ({"steps": {}, "budget": {}}, ("invalid_value", "/budget")),
        ({"steps": {}, "budget": {"cost": "1"}}, ("invalid_value", "/budget/cost")),
        ({"steps": {}, "budget": {"tokens": -1}}, ("invalid_value", "/budget/tokens")),
        ({"steps": {"a": {"type": "set", "resources": {"cpus": 1}}}}, ("unknown_field", "/steps/a/resources/cpus")),
        ({"steps": {}, "triggers": [{"event": 5}]}, ("invalid", "/triggers/0/event")),
        ({"steps": {}, "budget": {"token": 1}}, ("invalid_value", "/budget")),
        ({"steps": {}, "name": " "}, ("required", "/name")),
        ({"steps": {}, "name": 5}, ("invalid_value", "/name")),
    ],
)
def test_faults(document: Any, fault: tuple[str, str]) -> None:
    assert fault in faults(document)


def test_no_steps_at_all() -> None:
    report = inspect({"steps": {}})
    assert (report.dialect, report.faults) == ("steps", ())


def test_what_it_says_of_itself() -> None:
    document = {"steps": {}, "name": "N", "unique_name": "n-1", "description": "d", "max_concurrency": 3, "extra": 1}
    document["budget"] = {"cost": 2, "tokens": 10}
    head, definition = read("steps", document)
    assert (head.name, head.key, head.description, head.max_concurrency) == ("N", "n-1", "d", 3)
    assert definition.graph.max_concurrency == 3
    assert read("steps", {"steps": {}, "timeout": "10m"})[1].graph.timeout == 600
    assert definition.graph.budget == head.budget == Budget(2.0, 10)
    assert warnings(document) == [("unused_field", "/extra")]


def test_a_step_called_fail_is_nobodys_handler() -> None:
    assert edges(steps(a={"next": "fail"}, fail={})) == {"a>fail"}
