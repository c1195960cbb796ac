"""`sub_workflow` says which workflow is to be executed; the engine does the rest."""

from typing import Any

import pytest

from engine.model import StartChild
from tests.unit.nodes.harness import CATALOG, failure, faults, run


@pytest.mark.parametrize(
    ("config", "outcome"),
    [
        ({"workflow": "w"}, StartChild("w")),
        ({"workflow": 7}, StartChild(7)),
        ({"workflow": "7"}, StartChild(7)),
        ({"workflow": "7a"}, StartChild("7a")),
        ({"workflowId": 7, "parameters": {"a": 1}}, StartChild(7, input={"a": 1})),
        ({"workflow_key": "w", "data": [1]}, StartChild("w", input=[1])),
        ({"workflow": "w", "version": 2, "wait": False}, StartChild("w", 2, wait=False)),
        ({"workflow": "w", "labels": {"team": "a"}, "waitForCompletion": True}, StartChild("w", labels={"team": "a"})),
    ],
)
@pytest.mark.parametrize("kind", ["sub_workflow", "subworkflow", "child_workflow"])
async def test_it_says_what_to_start(kind: str, config: dict[str, Any], outcome: StartChild) -> None:
    assert faults(kind, config) == []
    assert await run(kind, config) == outcome


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({}, "/config/workflow"),
        ({"workflow": None}, "/config/workflow"),
        ({"workflow": ""}, "/config/workflow"),
        ({"workflow": 0}, "/config/workflow"),
        ({"workflow": True}, "/config/workflow"),
        ({"workflow": "w", "version": "1"}, "/config/version"),
        ({"workflow": "w", "wait": 1}, "/config/wait"),
        ({"workflow": "w", "labels": {"a": 1}}, "/config/labels"),
        ({"workflow": "w", "labels": {str(n): "" for n in range(33)}}, "/config/labels"),
        ({"workflow": "w", "workflow_id": 7}, "/config/workflow_id"),
        ({"workflow": "w", "timeout": 7}, "/config/timeout"),
    ],
    ids=str,
)
async def test_it_refuses_anything_else_at_save_and_at_run(config: dict[str, Any], place: str) -> None:
    (found,) = faults("sub_workflow", config)
    assert found == place
    error = await failure("sub_workflow", config)
    assert (error.type, error.retryable) == ("invalid_config", False)


def test_templates_are_left_to_the_run() -> None:
    assert (
        faults("sub_workflow", {"workflow": "{{input.which}}", "version": "{{input.v}}", "wait": "{{input.w}}"}) == []
    )
    assert CATALOG.resolve("run_workflow") == "sub_workflow"
