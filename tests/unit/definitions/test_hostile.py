"""Whatever a document says, it is a report: no exception, no wait, and never a digest beside a fault."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import limits
from tests.unit.definitions.words import digest, faults, inspect

VOCABULARY = """
nodes edges tasks steps start_at id key name type config data label next cases else default condition end
true_edge false_edge source target sourceHandle depends_on task retry max_attempts delay backoff timeout
when on_error resources executor activity_type activity action max_concurrency unique_name description
version branch conditional noop set a b c @error fail continue * {{input.x}} {{tasks.a.output}} {{
"""
WORDS = st.sampled_from(VOCABULARY.split())
NUMBERS = st.sampled_from([0, 1, -1, 2**63 - 1, 0.5, -0.0, 1e308])
VALUES = st.recursive(
    WORDS | st.none() | st.booleans() | NUMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=25,
)


@given(
    field=st.sampled_from(["nodes", "steps", "tasks"]),
    document=st.dictionaries(WORDS, VALUES, max_size=5),
    value=VALUES,
)
@settings(max_examples=400)
def test_any_document_is_a_report(field: str, document: dict[str, Any], value: Any) -> None:
    report = inspect({**document, field: value})
    assert (report.digest is None) == bool(report.faults)


ROWS = st.lists(st.dictionaries(WORDS, VALUES, max_size=6), max_size=4)


@given(field=st.sampled_from(["nodes", "tasks", "steps"]), rows=ROWS, more=st.dictionaries(WORDS, VALUES, max_size=2))
@settings(max_examples=400)
def test_any_rows_are_a_report(field: str, rows: list[dict[str, Any]], more: dict[str, Any]) -> None:
    for place, row in enumerate(rows):
        row.setdefault("id", "abcd"[place])
    value: Any = rows if field != "steps" else {str(row["id"]): row for row in rows}
    edges = [{"source": "a", "target": "b"}, *(row for row in rows[:2])] if field == "nodes" else more.get("edges")
    report = inspect({**more, field: value, "edges": edges, "start_at": "a"})
    assert (report.digest is None) == bool(report.faults)


@pytest.mark.parametrize("field", ["nodes", "tasks"])
def test_ten_thousand_tasks_that_are_all_wrong_cost_little(field: str) -> None:
    rows = [
        {"id": f"t{n}", "type": f"nope{n}", "depends_on": [f"x{n}"], "next": f"y{n}", "retry": {"nothing": 1}}
        for n in range(limits.TASKS)
    ]
    found = faults({field: rows, "edges": [{"source": f"z{n}", "target": "t1"} for n in range(1000)]})
    assert len(found) >= limits.TASKS


def test_too_many_tasks() -> None:
    assert faults({"tasks": [{"id": n} for n in range(limits.TASKS + 1)]}) == [("invalid", "/tasks")]


def test_a_chain_of_ten_thousand_steps() -> None:
    steps = {
        f"s{n}": {"type": "noop", "next": f"s{n + 1}" if n < limits.TASKS - 1 else "end"} for n in range(limits.TASKS)
    }
    assert digest({"start_at": "s0", "steps": steps})


@pytest.mark.parametrize("length", [limits.NAME + 1, 100_000])
def test_long_names(length: int) -> None:
    name = "n" * length
    assert faults({"name": name, "tasks": [{"id": "a", "name": name}]}) == [
        ("too_long", "/name"),
        ("too_long", "/tasks/0/name"),
    ]
    assert [code for code, _ in faults({"tasks": [{"id": name}, {"id": "a", "type": name}]})] == [
        "invalid_key",
        "unknown_node_type",
    ]
    assert all(len(fault.message) < 500 for fault in inspect({"tasks": [{"id": name}, {name: 1, "id": "x"}]}).faults)
