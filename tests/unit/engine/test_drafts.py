"""What an edit of a draft costs, and that no edit lets anything in that a whole check would refuse."""

import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from definitions.ordered_tasks import dialect
from engine import registry
from engine.authoring import Authoring
from engine.catalog import Catalog
from engine.drafts import Drafts
from engine.errors import Fault, InvalidWorkflow, KeyTaken
from engine.library import Library
from engine.model import Compensation
from engine.ports import NewTask, NewWorkflow
from storage.sqlite import SQLiteStore
from tests.stub_nodes import stub


class Nodes(Catalog):
    """Counts the configs that were looked at."""

    looked = 0

    def config_faults(self, type: str, config: Mapping[str, Any], where: str) -> list[Fault]:  # noqa: A002
        self.looked += 1
        return super().config_faults(type, config, where)


@pytest.fixture
def nodes() -> Nodes:
    handlers = registry.scan("nodes", "handler")
    missing = {"branch"} - {handler.type for handler in handlers}
    return Nodes([*handlers, *map(stub, missing)], ["asyncio"])


@pytest.fixture
async def drafts(tmp_path: Path, nodes: Nodes) -> AsyncIterator[Drafts]:
    store = SQLiteStore(f"sqlite:///{tmp_path}/drafts.db")
    await store.open()
    yield Drafts(store, Library(store), Authoring([dialect], nodes), None)
    await store.close()


async def test_the_hundredth_edit_looks_at_no_more_than_the_first(drafts: Drafts, nodes: Nodes) -> None:
    workflow = (await drafts.create(NewWorkflow("default", "w"))).id
    for number in range(1, 101):
        nodes.looked = 0
        task = await drafts.add_task(workflow, NewTask("t", depends_on=("task_1",) if number > 1 else ()))
        assert nodes.looked == 1
        nodes.looked = 0
        await drafts.update_task(workflow, task.id, {"name": "other", "parameters": {"n": number}})
        assert nodes.looked == 1


LEADS_BACK = {"cases": [{"label": "x", "condition": True, "next": "task_1"}]}
NAMES = ("task_1", "task_2", "task_3", "task_9")


def fields(dice: random.Random) -> dict[str, Any]:
    """Of a task, often wrong."""
    given: dict[str, Any] = {
        "type": ["noop", "set", "delay", "nonsense", "branch"],
        "parameters": [
            LEADS_BACK,
            {},
            {"v": "{{tasks.task_1.output}}"},
            {"v": "{{"},
            {"duration": -1},
            {"duration": 1},
        ],
        "depends_on": [(), ("task_1",), ("task_2", "task_3"), ("task_9",)],
        "order": [1, 5, 50],
        "execution_type": ["sync", "async", "other"],
        "on_error": ["fail", "continue", "task_1", "task_3", "task_9"],
        "when": [True, False, "{{input.x}}", "{{tasks.task_2.output}}", "yes"],
        "timeout": [1.0, 0.0],
        "executor": ["asyncio", "nowhere"],
        "concurrency_key": ["all", "{{tasks.task_1.output}}", "{{"],
        "concurrency_limit": [1, 0],
        "compensate": [
            None,
            Compensation("noop", {"v": "{{error.type}}"}),
            Compensation("noop", {"v": "{{tasks.task_1.output}}"}),
            Compensation("nonsense"),
        ],
    }
    names = dice.sample(sorted(given), dice.choice([0, 1, 1, 2]))
    return {name: dice.choice(given[name]) for name in names}


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_let_in_stands_the_whole_check(drafts: Drafts, seed: int) -> None:
    dice = random.Random(seed)
    workflow = (await drafts.create(NewWorkflow("default", "w"))).id
    accepted = refused = 0
    for _ in range(100):
        tasks = (await drafts.get(workflow)).tasks
        try:
            match dice.choice(("add", "change", "change", "delete") if len(tasks) > 3 else ("add",)):
                case "add":
                    await drafts.add_task(workflow, NewTask("t", **fields(dice)))
                case "change":
                    key = {"key": dice.choice(NAMES)} if dice.random() < 0.1 else {}
                    await drafts.update_task(workflow, dice.choice(tasks).id, fields(dice) | key)
                case _:
                    await drafts.delete_task(workflow, dice.choice(tasks).id)
        except (InvalidWorkflow, KeyTaken):
            refused += 1
        else:
            accepted += 1
        drafts._authoring.define(await drafts.get(workflow))
    assert accepted > 20
    assert refused > 20
