"""An action changes in one process while another makes a version of it."""

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import pytest

from engine.actions import Action, NewAction, ReadActions
from engine.model import Workflow
from engine.ports import Compiled, Store
from storage import actions, drafts
from tests.stores import SPACE, opened, workflow


def of(draft: Workflow, read: ReadActions) -> Compiled:
    """Compiles to what the action is."""
    return Compiled(f"n={read(['a'])['a'].config['n']}", b"{}", b"{}", ("a",))


async def changed_meanwhile(one: Store, two: Store, patience: float) -> str:
    """What the second start of a workflow finds, whose action has changed while its first version was made.

    The compilation holds on for the change, for so many seconds.
    """
    loop = asyncio.get_running_loop()
    await one.create_action(SPACE, NewAction("a", "noop", {"n": 1}))
    made = await one.create_workflow(workflow())
    changes: list[Future[Action | None]] = []

    def slowly(draft: Workflow, read: ReadActions) -> Compiled:
        compiled = of(draft, read)
        change: Any = two.update_action(SPACE, "a", {"config": {"n": 2}})
        changes.append(asyncio.run_coroutine_threadsafe(change, loop))
        with suppress(TimeoutError):
            changes[0].exception(patience)
        return compiled

    first, _ = await one.ensure_version(SPACE, made.id, slowly)
    assert first.digest == "n=1"
    await asyncio.wrap_future(changes[0])
    second, _ = await one.ensure_version(SPACE, made.id, of)
    return second.digest


async def test_the_next_start_sees_the_change(migrated_postgres_url: str) -> None:
    async with opened(migrated_postgres_url) as one, opened(migrated_postgres_url) as two:
        assert await changed_meanwhile(one, two, 1.0) == "n=2"


async def test_without_the_gate_it_would_not(migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard that the test above holds."""
    for module in (actions, drafts):
        monkeypatch.setattr(module, "gate", lambda connection, change=False: None)
    async with opened(migrated_postgres_url) as one, opened(migrated_postgres_url) as two:
        assert await changed_meanwhile(one, two, 60.0) == "n=1"
