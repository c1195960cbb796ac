"""`branch` and `conditional`: from what is written, through the check and the rendering, to a label."""

from typing import Any

import pytest

from engine.checks import check, stored
from engine.dialect_ports import Definition
from engine.errors import TaskError
from engine.graph import compile_definition, load
from engine.model import Completed, Edge, Graph, Presentation, Task
from engine.trials import TrialScope, TrialTask
from tests.unit.nodes.harness import CATALOG, failure, faults, run

LEAD = {
    "cases": [
        {"label": "CEO", "condition": {"==": [{"var": "lead.title"}, "CEO"]}, "next": "gift"},
        {"else": True, "next": "drip"},
    ]
}
"""The branch of the lead example."""


def defined(kind: str, config: dict[str, Any]) -> Definition:
    graph = Graph((Task("classify"), Task("route", kind, config)), (Edge("classify", "route"),))
    return Definition(graph, Presentation(), {"classify": "/tasks/0", "route": "/tasks/1"})


def wrong(kind: str, config: dict[str, Any]) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in check(defined(kind, config), CATALOG)]


def rendered(kind: str, config: dict[str, Any], given: Any, output: Any = None) -> tuple[str, dict[str, Any]]:
    """The type and the config that the node gets, as from a stored version."""
    definition = defined(kind, config)
    assert check(definition, CATALOG) == []
    compiled = compile_definition(stored(definition, CATALOG))
    vertex = load(compiled.graph, compiled.presentation).by_key["route"]
    scope = TrialScope(given, {"classify": TrialTask(output)}, 0.0)
    return vertex.task.type, vertex.config.render(scope)


async def label(kind: str, config: dict[str, Any], given: Any, output: Any = None) -> str | None:
    outcome = await run(*rendered(kind, config, given, output))
    assert isinstance(outcome, Completed)
    return outcome.label


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"lead": {"title": "CEO"}}, "CEO"),
        ({"lead": {"title": "CTO"}}, "drip"),
        ({"lead": {}}, "drip"),
        ({}, "drip"),
        ("CEO", "drip"),
        ({"lead": {"title": ["CEO"]}}, "CEO"),  # as JSONLogic converts
        ({"lead": {"title": "{{input.lead}}"}}, "drip"),
    ],
)
async def test_the_branch_of_the_lead_example(given: Any, expected: str) -> None:
    assert await label("branch", LEAD, given) == expected


async def test_the_first_case_that_holds_wins() -> None:
    cases: list[dict[str, Any]] = [
        {"condition": "input.n > 10", "label": "large"},
        {"else": True, "label": "rest"},
        {"condition": "{{input.n}} > 5", "label": "middle"},
        {"condition": {">": [{"var": "n"}, 3]}},
        {"condition": False, "label": "never"},
    ]
    found = [await label("switch", {"cases": cases}, {"n": n}) for n in (11, 7, 4, 1)]
    assert found == ["large", "middle", "case_4", "rest"]
    outcome = await run(*rendered("branch", {"cases": cases[:1]}, {"n": 0}))
    assert outcome == Completed({"label": None, "case": None})


@pytest.mark.parametrize(
    ("condition", "given", "output", "expected"),
    [
        ("{{input.value}} > 10", {"value": 11}, None, "success_path"),
        ("{{input.value}} > 10", {"value": 10}, None, "failure_path"),
        ("{{classify.output.category}} == 'technical'", {}, {"category": "technical"}, "success_path"),
        ("{{classify.output.category}} == 'technical'", {}, {"category": "' == ''"}, "failure_path"),
        ("tasks.classify.status == 'completed'", {}, None, "success_path"),
        ({"and": [{"var": "a"}, {"!": {"var": "b"}}]}, {"a": 1, "b": 0}, None, "success_path"),
        ("{{input.flag}}", {"flag": "false"}, None, "failure_path"),
        (True, {}, None, "success_path"),
    ],
)
async def test_the_conditional_of_the_agent_example(condition: Any, given: Any, output: Any, expected: str) -> None:
    config = {"condition": condition, "true_edge": "success_path", "false_edge": "failure_path"}
    assert await label("conditional", config, given, output) == expected


async def test_the_labels_of_a_conditional_without_edges() -> None:
    found = [await label("if", {"condition": "input > 1"}, given) for given in (2, 1)]
    assert found == ["true", "false"]
    assert await label("conditional", {"condition": "input", "trueEdge": "yes"}, 1) == "yes"


async def test_the_node_gets_true_or_false_and_never_the_rule() -> None:
    assert rendered("branch", LEAD, {})[1] == {
        "cases": [{"label": "CEO", "condition": False, "next": "gift"}, {"else": True, "next": "drip"}]
    }
    error = await failure("conditional", {"condition": {"==": [1, 1]}})
    assert error.type == "invalid_config"


async def test_a_condition_that_finds_nothing_fails_the_task() -> None:
    with pytest.raises(TaskError) as caught:
        rendered("conditional", {"condition": "{{input.value}} > 10"}, {})
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("conditional", {}, [("/tasks/1/config/condition", "required")]),
        ("conditional", {"condition": "input.a >"}, [("/tasks/1/config/condition", "invalid_condition")]),
        ("conditional", {"condition": 5}, [("/tasks/1/config/condition", "invalid_condition")]),
        ("conditional", {"condition": {"nope": 1}}, [("/tasks/1/config/condition/nope", "jsonlogic")]),
        ("if", {"condition": "tasks.other.output"}, [("/tasks/1/config/condition", "template_unknown_task")]),
        ("if", {"condition": True, "trueEdge": 1}, [("/tasks/1/config/trueEdge", "invalid_config")]),
        ("branch", {"cases": []}, [("/tasks/1/config/cases", "invalid_config")]),
        ("branch", {"cases": [{"label": "x"}]}, [("/tasks/1/config/cases/0", "invalid_config")]),
        (
            "branch",
            {"cases": [{"condition": True, "else": True}]},
            [("/tasks/1/config/cases/0", "invalid_config")],
        ),
        ("branch", {"cases": [{"else": True}, {"else": True}]}, [("/tasks/1/config/cases", "invalid_config")]),
        (
            "branch",
            {"cases": [{"else": True}, {"condition": "{{input.x"}]},
            [("/tasks/1/config/cases/1/condition", "template")],
        ),
    ],
)
def test_faults_are_told_at_save(kind: str, config: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    found = wrong(kind, config)
    assert [pointer for pointer, _ in found] == [pointer for pointer, _ in expected], found
    assert faults(kind, config) is not None


def test_conditions_are_part_of_what_a_version_means() -> None:
    digests = {
        compile_definition(stored(defined(kind, config), CATALOG)).digest
        for kind, config in (("conditional", {"condition": "input"}), ("if", {"condition": "input"}))
    }
    assert len(digests) == 1
    graph = stored(defined("branch", LEAD), CATALOG).graph
    assert graph.conditions == {"route": ("/cases/0/condition",)}
    assert graph.tasks[1].config == LEAD
