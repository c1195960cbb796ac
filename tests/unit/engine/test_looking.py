"""Who waits for an execution looks at it again and again; only the answer is rendered, task by task."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine import service as service_module
from engine import views as views_module
from engine.model import Completed, FanOut, Task, TaskCall
from engine.states import ExecutionStatus as E
from engine.views import Folded, Views
from tests.unit.engine.harness import Engine, looking_service

ITEMS = 50


class Looks(Views):
    """Notes each look."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.store, engine.library)
        self.seen: set[int] = set()
        """The `seq` at each look."""
        self.looked = asyncio.Event()

    async def fold(self, execution_id: int) -> Folded:
        folded = await super().fold(execution_id)
        self.seen.add(folded.state.seq)
        self.looked.set()
        return folded


@pytest.fixture
async def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    monkeypatch.setattr(service_module, "POLL", 0.01)
    monkeypatch.setattr(service_module, "CANCEL_WAIT", 20.0)
    async with Engine(tmp_path) as engine:
        yield engine


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[E]:
    """The status of each execution that was rendered."""
    found: list[E] = []
    render = views_module._view

    def noted(folded: Folded) -> Any:
        view = render(folded)
        found.append(view.status)
        return view

    monkeypatch.setattr(views_module, "_view", noted)
    return found


async def mapping(engine: Engine, views: Looks) -> int:
    """A map of which each item ends when somebody has looked at it."""

    async def seen(call: TaskCall) -> Completed:
        views.looked.clear()
        await views.looked.wait()
        return Completed(call.config)

    engine.handlers["map"] = lambda call: FanOut(ITEMS, 1)
    engine.handlers["seen"] = seen
    config = {"items": "{{input}}", "task": {"type": "seen", "config": {"n": "{{item}}"}}}
    number, _ = await engine.start(await engine.define(Task("m", "map", config)), list(range(ITEMS)))
    return number


async def test_who_waits_for_the_end_renders_it_once(engine: Engine, rendered: list[E]) -> None:
    views = Looks(engine)
    number = await mapping(engine, views)
    view = await looking_service(engine.store, views).wait(number, 30)
    assert (view.status, len(view.tasks)) == (E.COMPLETED, 1 + ITEMS)
    assert rendered == [E.COMPLETED]
    assert len(views.seen) > ITEMS


async def test_who_cancels_renders_nothing(engine: Engine, rendered: list[E]) -> None:
    views = Looks(engine)
    number = await mapping(engine, views)
    cancelling = asyncio.create_task(looking_service(engine.store, views).cancel_execution(number))
    await engine.until(number, lambda row: len(views.seen) >= 3)
    engine.inbox.tell((number,))
    assert await cancelling is E.CANCELLED
    assert rendered == []
