"""*YAML tasks*: what a list of tasks with dependencies means as a graph."""

from typing import Any

import pytest

from engine.graph import ERROR_LABEL
from engine.model import Resources, RetryPolicy, Task
from tests.unit.definitions.words import edges, faults, graph, inspect, warnings


def tasks(*rows: Any) -> dict[str, Any]:
    return {"tasks": list(rows)}


def test_dependencies_are_edges() -> None:
    document = tasks({"id": "a"}, {"id": "b", "depends_on": "a"}, {"id": "c", "depends_on": ["a", "b"]})
    assert edges(document) == {"a>b", "a>c", "b>c"}


def test_a_dependency_on_one_outcome() -> None:
    document = tasks({"id": "a"}, {"id": "b", "depends_on": [{"task": "a", "label": "yes"}]}, {"id": 3})
    assert edges(document) == {"a-yes>b"}
    assert [task.key for task in graph(document).tasks] == ["a", "b", "3"]


def test_the_type_of_an_activity_is_its_activity_type() -> None:
    document = tasks(
        {"id": "a", "type": "activity", "activity_type": "http_request", "config": {"url": "u"}},
        {"id": "b", "activity_type": "delay"},
        {"id": "c", "type": "set"},
        {"id": "d"},
        {"id": "e", "action": "mail", "config": {"to": "x"}},
    )
    assert [task.type for task in graph(document).tasks] == ["http_request", "delay", "set", "noop", "action"]
    assert graph(document).tasks[4].config == {"action": "mail", "config": {"to": "x"}}


def test_every_option_of_a_task() -> None:
    document = tasks(
        {
            "id": "a",
            "name": "A",
            "description": "d",
            "when": "{{input.go}}",
            "retry": {"attempts": 5, "interval": "500ms", "multiplier": 3, "max_delay": "1m", "jitter": 0.5},
            "timeout": "1h",
            "executor": "rq",
            "on_error": "b",
            "heartbeat_timeout": 9,
            "resources": {"num_cpus": 2},
            "concurrency_key": "{{input.customer}}",
            "concurrency_limit": 4,
            "total_timeout": "2h",
        },
        {"id": "b"},
    )
    retry = RetryPolicy(5, 0.5, 3.0, 60.0, 0.5)
    when, key = "{{input.go}}", "{{input.customer}}"
    expected = Task("a", "noop", {}, when, retry, 3600.0, "rq", "b", 9.0, Resources(2.0), key, 4, total_timeout=7200.0)
    assert graph(document).tasks[0] == expected
    assert edges(document) == {f"a-{ERROR_LABEL}>b"}
    assert faults(document) == []


@pytest.mark.parametrize(
    ("spelled", "policy"),
    [
        ({"max_attempts": 3}, RetryPolicy(3)),
        ({"maximum_attempts": 3, "backoff_coefficient": 4}, RetryPolicy(3, backoff_coefficient=4.0)),
        ({"max_attempts": 3, "initial_interval": 2, "backoff": "exponential"}, RetryPolicy(3, 2.0)),
        ({"max_attempts": 3, "initial_interval": "2s", "backoff": "fixed"}, RetryPolicy(3, 2.0, 1.0)),
        ({"max_attempts": 3, "delay_seconds": 2, "backoff": 1.5}, RetryPolicy(3, 2.0, 1.5)),
        (
            {"max_attempts": 3, "maximum_interval": 10, "non_retryable": ["x"]},
            RetryPolicy(3, 1.0, 2.0, 10.0, 0.0, ("x",)),
        ),
        ({}, RetryPolicy()),
        (None, RetryPolicy()),
    ],
)
def test_spellings_of_retry(spelled: Any, policy: RetryPolicy) -> None:
    assert graph(tasks({"id": "a", "retry": spelled})).tasks[0].retry == policy


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (tasks(5), ("invalid_value", "/tasks/0")),
        (tasks({"name": "x"}), ("required", "/tasks/0/id")),
        (tasks({"id": True}), ("invalid_value", "/tasks/0/id")),
        (tasks({"id": "a"}, {"id": "a"}), ("duplicate_key", "/tasks/1")),
        (tasks({"id": "a", "dependson": []}), ("unknown_field", "/tasks/0/dependson")),
        (tasks({"id": "a", "type": "activity"}), ("required", "/tasks/0/activity_type")),
        (tasks({"id": "a", "type": "set", "activity_type": "noop"}), ("invalid_value", "/tasks/0/activity_type")),
        (tasks({"id": "a", "type": "activity", "activity_type": "x"}), ("unknown_node_type", "/tasks/0/activity_type")),
        (tasks({"id": "a", "depends_on": ["b"]}), ("unknown_task", "/tasks/0/depends_on/0")),
        (tasks({"id": "a", "depends_on": "b"}), ("unknown_task", "/tasks/0/depends_on")),
        (tasks({"id": "a", "depends_on": [None]}), ("invalid_value", "/tasks/0/depends_on/0")),
        (tasks({"id": "a", "depends_on": ["a"]}), ("cycle", "/tasks/0/depends_on")),
        (tasks({"id": "a", "config": []}), ("invalid_value", "/tasks/0/config")),
        (tasks({"id": "a", "config": {"bad": 1}}), ("invalid_config", "/tasks/0/config/bad")),
        (tasks({"id": "a", "executor": "ray"}), ("unknown_executor", "/tasks/0/executor")),
        (tasks({"id": "a", "concurrency_limit": 0}), ("out_of_range", "/tasks/0/concurrency_limit")),
        (tasks({"id": "a", "compensate": 5}), ("invalid_value", "/tasks/0/compensate")),
        (tasks({"id": "a", "compensate": {"config": {}}}), ("required", "/tasks/0/compensate/type")),
        (tasks({"id": "a", "compensate": {"type": 5}}), ("invalid_value", "/tasks/0/compensate/type")),
        (tasks({"id": "a", "compensate": {"type": "nope"}}), ("unknown_node_type", "/tasks/0/compensate/type")),
        (tasks({"id": "a", "compensate": {"type": "noop", "when": 1}}), ("unknown_field", "/tasks/0/compensate/when")),
        (
            tasks({"id": "a", "compensate": {"type": "noop", "timeout": "soon"}}),
            ("invalid_value", "/tasks/0/compensate/timeout"),
        ),
        (tasks({"id": "a", "when": 5}), ("invalid_value", "/tasks/0/when")),
        (tasks({"id": "a", "config": {"x": "{{tasks.b.output}}"}}), ("template_unknown_task", "/tasks/0/config/x")),
        ({"tasks": "a"}, ("invalid_value", "/tasks")),
    ],
)
def test_faults(document: Any, fault: tuple[str, str]) -> None:
    assert fault in faults(document)


SIX = """\
name: my-workflow
version: 1.0
tasks:
  - id: a
    type: activity
    activity_type: htpp_request
    retry:
      max_attempts: 0
  - id: b
    typ: delay
    depends_on: [aa]
    timeout: 5 parsecs
  - id: a
    type: delay
"""


def test_all_faults_are_told_at_once_with_their_lines() -> None:
    """Issue 4, "Done when" 2."""
    told = [(fault.line, fault.message) for fault in inspect(SIX).faults]
    assert [line for line, _ in told] == [6, 8, 10, 11, 12, 13]
    assert "did you mean 'http_request'?" in told[0][1]
    assert "did you mean 'type'?" in told[2][1]


def test_json_has_lines_too() -> None:
    text = '{\n "tasks": [\n  {"id": "a",\n   "type": "nop"}\n ]\n}'
    assert [(fault.line, fault.pointer) for fault in inspect(text).faults] == [(4, "/tasks/0/type")]


def test_faults_of_reading_and_of_meaning_together() -> None:
    told = inspect("tasks:\n  - id: a\n    id: b\n    type: nop\n").faults
    assert [(fault.line, fault.code) for fault in told] == [(3, "duplicate_key"), (4, "unknown_node_type")]


@pytest.mark.parametrize("text", ["[]", "5", "null", "name: x\n", '{"name": "x"}', ""])
def test_what_is_no_workflow_is_refused(text: str) -> None:
    assert inspect(text).dialect is None
    assert len(inspect(text).faults) == 1


def test_two_dialects_at_once_are_refused() -> None:
    assert faults({"tasks": [], "nodes": []}) == [("invalid_document", "/tasks")] or faults(
        {"tasks": [], "nodes": []}
    ) == [("invalid_document", "/nodes")]


def test_an_unused_field_is_a_warning() -> None:
    assert warnings({"tasks": [], "descripton": "x"}) == [("unused_field", "/descripton")]
