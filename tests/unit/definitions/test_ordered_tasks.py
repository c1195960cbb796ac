"""Ordered tasks: what rows mean as a graph, and what runs beside what."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from definitions.ordered_tasks import dialect
from engine.errors import InvalidWorkflow
from engine.graph import ERROR_LABEL, CompiledGraph, canonical, find_cycle
from engine.model import DraftTask, Edge, Graph, Resources, RetryPolicy, Task, Workflow


def row(number: int, key: str, order: int = 0, kind: str = "sync", **fields: Any) -> DraftTask:
    values: dict[str, Any] = {
        "id": number,
        "workflow_id": 1,
        "key": key,
        "name": key.upper(),
        "description": None,
        "order": order,
        "execution_type": kind,
        "type": None,
        "parameters": {},
        "depends_on": (),
        "when": True,
        "retry": RetryPolicy(),
        "timeout": None,
        "executor": None,
        "on_error": "fail",
        "heartbeat_timeout": None,
        "resources": Resources(),
        "concurrency_key": None,
        "concurrency_limit": 1,
        "compensate": None,
        "total_timeout": None,
        "created_at": 0.0,
        "updated_at": 0.0,
    }
    return DraftTask(**values | fields)


def draft(*rows: DraftTask) -> Workflow:
    return Workflow(1, "default", None, "w", None, "ordered_tasks", None, 1, 0.0, 0.0, rows)


def graph(*rows: DraftTask) -> Graph:
    return dialect.parse(draft(*rows)).graph


def edges(*rows: DraftTask) -> set[str]:
    return {f"{e.source}{'!' if e.label == ERROR_LABEL else ''}{e.target}" for e in graph(*rows).edges}


def test_sync_tasks_are_a_chain_by_order_then_id() -> None:
    assert edges(row(3, "a", 2), row(1, "b", 2), row(2, "c", 1)) == {"cb", "ba"}


def test_an_async_task_starts_with_its_place_and_runs_beside_all_that_follows() -> None:
    rows = [row(1, "a", 1), row(2, "x", 2, "async"), row(3, "y", 3, "async"), row(4, "b", 4), row(5, "z", 5, "async")]
    assert edges(*rows) == {"ax", "ay", "ab", "bz"}


def test_what_stands_before_every_sync_task_starts_at_once() -> None:
    compiled = CompiledGraph(graph(row(1, "x", 1, "async"), row(2, "a", 2), row(3, "y", 3, "async")), _no_names())
    assert {compiled.vertices[place].key for place in compiled.roots} == {"x", "a"}


def _no_names() -> Any:
    return dialect.parse(draft()).presentation


def test_depends_on_adds_edges_and_says_nothing_twice() -> None:
    rows = [row(1, "x", 1, "async"), row(2, "a", 2), row(3, "b", 3, depends_on=("x", "a"))]
    assert edges(*rows) == {"xb", "ab"}
    assert len(graph(*rows).edges) == 2


def test_depends_on_may_name_what_comes_later_unless_that_is_a_cycle() -> None:
    assert edges(row(1, "x", 1, "async", depends_on=("a",)), row(2, "a", 2)) == {"ax"}
    assert find_cycle(graph(row(1, "a", 1, depends_on=("b",)), row(2, "b", 2))) == ["a", "b", "a"]
    assert find_cycle(graph(row(1, "a", 1, depends_on=("a",)))) == ["a", "a"]


def test_a_handler_of_errors_stands_outside_the_order() -> None:
    rows = [row(1, "a", 1, on_error="h"), row(2, "h", 2), row(3, "b", 3, on_error="h"), row(4, "c", 4)]
    assert edges(*rows) == {"a!h", "b!h", "ab", "bc"}


def test_the_targets_of_a_branch_stand_outside_the_order() -> None:
    cases = [{"label": "yes", "condition": True, "next": "g"}, {"else": True, "next": "end"}]
    rows = [row(1, "a", 1, type="branch", parameters={"cases": cases}), row(2, "g", 2), row(3, "b", 3)]
    assert set(graph(*rows).edges) == {Edge("a", "g", "yes"), Edge("a", "", "else"), Edge("a", "b")}
    assert graph(*rows).tasks[0].config == {
        "cases": [{"condition": True, "label": "yes"}, {"else": True, "label": "else"}]
    }


def test_a_task_becomes_its_vertex() -> None:
    retry = RetryPolicy(max_attempts=3)
    (task,) = graph(
        row(1, "a", type="set", parameters={"x": 1}, when="{{input.x}}", retry=retry, timeout=2.5, executor="asyncio")
    ).tasks
    assert task == Task("a", "set", {"x": 1}, "{{input.x}}", retry, 2.5, "asyncio")
    assert graph(row(1, "a")).tasks == (Task("a", "noop"),)


def test_names_and_order_are_for_people_and_pointers_for_faults() -> None:
    definition = dialect.parse(draft(row(2, "b", 1), row(1, "a", 5)))
    assert definition.presentation.names == {"b": "B", "a": "A"}
    assert definition.presentation.order == ("b", "a")
    assert definition.pointers == {"b": "/tasks/0", "a": "/tasks/1"}
    assert (definition.config_field, definition.edge_field) == ("parameters", "depends_on")


def test_faults_of_form_are_told_together_with_their_places() -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        dialect.parse(draft(row(1, "fetch", 1, "parallel"), row(2, "b", 2, depends_on=("fetch", "fetsh"))))
    assert [(fault.code, fault.pointer) for fault in caught.value.faults] == [
        ("invalid_value", "/tasks/0/execution_type"),
        ("unknown_task", "/tasks/1/depends_on/1"),
    ]
    assert "did you mean 'fetch'?" in caught.value.faults[1].message


def test_ten_thousand_unknown_names_cost_little() -> None:
    rows = [row(number, f"task_{number}", number) for number in range(1, 500)]
    many = row(500, "last", 500, depends_on=tuple(f"tusk_{number}" for number in range(10_000)))
    with pytest.raises(InvalidWorkflow) as caught:
        dialect.parse(draft(*rows, many))
    assert len(caught.value.faults) == 10_000
    assert sum("did you mean" in fault.message for fault in caught.value.faults) == 20


ROWS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["sync", "async"])), max_size=8)


@given(ROWS, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_the_meaning_in_its_own_words(kinds: list[tuple[int, str]], rnd: Any) -> None:
    """Each task follows the sync task before it, and no other; the order of the rows in the table does not matter."""
    rows = [row(number, f"t{number}", order, kind) for number, (order, kind) in enumerate(kinds)]
    parsed = graph(*rnd.sample(rows, len(rows)))
    assert canonical(parsed) == canonical(graph(*rows))
    ordered = sorted(rows, key=lambda r: (r.order, r.id))
    for place, current in enumerate(ordered):
        before = [r.key for r in ordered[:place] if r.execution_type == "sync"][-1:]
        assert [edge for edge in parsed.edges if edge.target == current.key] == [Edge(b, current.key) for b in before]
