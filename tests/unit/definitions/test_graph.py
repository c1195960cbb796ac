"""*Graph*: what nodes and edges mean, and what an editor may add to them."""

from typing import Any

import pytest

from engine.graph import END
from engine.model import Edge, Task
from tests.unit.definitions.words import DIALECTS, edges, faults, graph, read, warnings


def nodes(*each: Any, edges: Any = ()) -> dict[str, Any]:
    return {"nodes": list(each), "edges": list(edges)}


def edge(source: Any, target: Any, **more: Any) -> dict[str, Any]:
    return {"id": f"{source}-{target}", "source": source, "target": target, **more}


A, B, C = ({"id": key, "type": "noop"} for key in "abc")


def test_edges_are_edges() -> None:
    document = nodes(A, B, C, edges=[edge("a", "b"), edge("a", "c", label="yes"), edge("a", None, label="no")])
    assert edges(document) == {"a>b", "a-yes>c", "a-no>"}
    assert Edge("a", END, "no") in graph(document).edges


def test_a_config_stands_in_config_or_data() -> None:
    document = nodes(
        {"id": 1, "type": "set", "data": {"x": 1}},
        {"id": "b", "type": "set", "config": {"x": 2}, "data": {"label": "B", "colour": "red"}},
        {"id": "c", "type": "set", "data": {"label": "C", "x": 3}},
        {"id": "d", "type": "set", "data": {"label": "D", "config": {"x": 4}}},
        {"id": "e"},
    )
    assert [task.config.get("x") for task in graph(document).tasks] == [1, 2, 3, 4, None]
    assert read("graph", document)[1].presentation.names == {"1": "1", "b": "B", "c": "C", "d": "D", "e": "e"}


def branch(**config: Any) -> dict[str, Any]:
    return {"id": "x", "type": "branch", "data": config}


CASES = [{"label": "CEO", "condition": True, "next": "a"}, {"else": True, "next": "b"}]


def test_a_branch_leads_where_its_cases_say() -> None:
    assert edges(nodes(branch(cases=CASES), A, B)) == {"x-CEO>a", "x-else>b"}


def test_a_bare_edge_to_a_target_of_a_case_says_nothing_new() -> None:
    drawn = [edge("x", "a"), edge("x", "b"), edge("x", "c")]
    assert edges(nodes(branch(cases=CASES), A, B, C, edges=drawn)) == {"x-CEO>a", "x-else>b", "x>c"}


def test_the_handle_of_an_edge_is_a_label_if_its_source_has_it() -> None:
    cases = [{"label": "CEO", "condition": True}, {"else": True}]
    drawn = [edge("x", "a", sourceHandle="CEO"), edge("x", "b", label="else"), edge("a", "b", sourceHandle="bottom")]
    document = nodes(branch(cases=cases), A, B, edges=drawn)
    assert edges(document) == {"x-CEO>a", "x-else>b", "a>b"}
    assert warnings(document) == []


def test_a_conditional_names_nodes_or_edges() -> None:
    x = {"id": "x", "type": "conditional", "config": {"condition": "c", "true_edge": "a", "false_edge": "x-b"}}
    document = nodes(x, A, B, edges=[edge("x", "b")])
    assert edges(document) == {"x-true>a", "x-false>b"}
    assert graph(document).tasks[0] == Task("x", "conditional", {"condition": "c"})


def test_a_branch_may_name_the_labels_of_its_edges() -> None:
    x = {"id": "x", "type": "conditional", "config": {"condition": "c", "true_edge": "good", "false_edge": "bad"}}
    document = nodes(x, A, B, edges=[edge("x", "a", label="good"), edge("x", "b", label="bad")])
    assert edges(document) == {"x-true>a", "x-false>b"}
    assert warnings(document) == []
    cases = [{"condition": True, "next": "good"}, {"else": True, "next": "bad"}]
    drawn = [edge("x", "a", label="good"), edge("x", "b", label="bad")]
    assert edges(nodes(branch(cases=cases), A, B, edges=drawn)) == {"x-good>a", "x-else>b"}


def test_targets_and_labels_that_do_not_exist_are_warnings() -> None:
    document = nodes(branch(cases=CASES), A, edges=[edge("a", "nowhere")])
    assert faults(document) == []
    assert warnings(document) == [
        ("unknown_target", "/nodes/0/data/cases/1/next"),
        ("unknown_target", "/edges/0/target"),
    ]
    cases = [{"label": "CEO", "condition": True}, {"else": True, "next": "a"}]
    assert warnings(nodes(branch(cases=cases), A)) == [("unknown_label", "/nodes/0/data/cases/0")]


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (nodes(5), ("invalid_value", "/nodes/0")),
        (nodes({"type": "noop"}), ("required", "/nodes/0/id")),
        (nodes(A, A), ("duplicate_key", "/nodes/1")),
        (nodes({"id": "a b"}), ("invalid_key", "/nodes/0")),
        (nodes(A, edges=[5]), ("invalid_value", "/edges/0")),
        (nodes(A, edges=[{"target": "a"}]), ("required", "/edges/0/source")),
        (nodes(A, edges=[{"source": "a"}]), ("required", "/edges/0/target")),
        (nodes(A, edges=[edge("z", "a")]), ("unknown_task", "/edges/0/source")),
        (nodes(A, edges=[edge("a", "b", label="@error")]), ("invalid_value", "/edges/0/target")),
        (nodes({"id": "a", "type": "noop", "data": {"bad": 1}}), ("invalid_config", "/nodes/0/data/bad")),
        (nodes({"id": "a", "type": "noop", "data": 1}), ("invalid_value", "/nodes/0/data")),
        (nodes(A, B, edges=[edge("a", "b"), edge("b", "a")]), ("cycle", "/nodes/0")),
        ({"nodes": {}}, ("invalid_value", "/nodes")),
    ],
)
def test_faults(document: Any, fault: tuple[str, str]) -> None:
    assert fault in faults(document)


def test_what_an_editor_adds_changes_nothing() -> None:
    """The shape of React Flow's `toObject()`."""
    drawn = {
        "nodes": [
            {**A, "position": {"x": 1.5, "y": -2}, "measured": {"width": 1}, "selected": True, "data": {"label": "a"}},
            {**B, "position": {"x": 0, "y": 0}, "dragging": False, "data": {}},
        ],
        "edges": [edge("a", "b", type="smoothstep", animated=True, sourceHandle=None, targetHandle="left", data={})],
        "viewport": {"x": 0, "y": 0, "zoom": 1},
    }
    assert graph(drawn) == graph(nodes(A, B, edges=[edge("a", "b")]))
    assert warnings(drawn) == []


def test_nodes_without_positions_get_some() -> None:
    _, definition = read("graph", nodes(A, B, C, edges=[edge("a", "b"), edge("a", "c")]))
    head, _ = read("graph", nodes())
    written = DIALECTS["graph"].write(head, definition.graph, definition.presentation)
    assert [node["position"] for node in written["nodes"]] == [
        {"x": 0, "y": 0},
        {"x": 250, "y": 0},
        {"x": 250, "y": 100},
    ]
