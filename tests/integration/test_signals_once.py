"""A signal with a `dedupe_key` is accepted once, whatever happens between the look for an earlier one and its insert.

The moments are held by a gate around the store's own `put_signals`; the engine that takes signals in is a real one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from bootstrap.settings import Settings
from bootstrap.wiring import open_service
from engine.errors import AlreadyEnded
from engine.model import DEFAULT_NAMESPACE
from engine.ports import NewTask, NewWorkflow, Signal, Store
from engine.service import WorkflowService
from engine.states import ExecutionStatus

KEY = "k"


@pytest.fixture(params=["sqlite", "postgresql"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[WorkflowService]:
    """With an engine, on a fresh database of each kind."""
    name = "sqlite_url" if request.param == "sqlite" else "migrated_postgres_url"
    settings = Settings(database_url=request.getfixturevalue(name), lease_seconds=0.5)
    async with open_service(settings, engine=True) as service:
        yield service


class Gate:
    """Holds signals back just before, or just after, the store has them."""

    def __init__(self, store: Store, patch: pytest.MonkeyPatch, *, before: bool) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self._before = before
        self._put = store.put_signals
        self._closed = True
        patch.setattr(store, "put_signals", self._held)

    async def _held(self, signals: Sequence[Signal]) -> list[int | None]:
        """The first one only."""
        closed, self._closed = self._closed, False
        stored = await self._put(signals) if not (closed and self._before) else None
        if closed:
            self.reached.set()
            await self.open.wait()
        return await self._put(signals) if stored is None else stored


async def waiting(service: WorkflowService) -> int:
    """An execution that goes on for long."""
    made = await service.create_workflow(NewWorkflow(DEFAULT_NAMESPACE, "w"))
    await service.add_task(made.id, NewTask("nap", type="delay", parameters={"duration_seconds": 3600}))
    return (await service.execute_workflow(made.id)).execution_id


async def heard(service: WorkflowService, number: int) -> list[bool]:
    """Once its journal has a signal: of each, whether it is the second one."""
    async with asyncio.timeout(30):
        while not (told := [e for e in await service.read_events(number) if e.type == "SignalReceived"]):
            await asyncio.sleep(0.01)
    return [b"second" in event.data for event in told]


def send(service: WorkflowService, number: int) -> "asyncio.Task[bool]":
    return asyncio.create_task(service.signal_execution(number, "go", "second", KEY))


@pytest.mark.parametrize("ended", [False, True])
async def test_one_that_was_taken_in_between_the_look_and_the_insert_is_a_duplicate(
    service: WorkflowService, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    number = await waiting(service)
    gate = Gate(service._store, monkeypatch, before=True)
    second = send(service, number)
    await gate.reached.wait()  # it has looked, and has found nothing
    assert await service.signal_execution(number, "go", "first", KEY)
    assert await heard(service, number) == [False]
    if ended:
        assert await service.cancel_execution(number) is ExecutionStatus.CANCELLED
    gate.open.set()
    assert await second is False
    assert await heard(service, number) == [False]


async def test_one_that_was_taken_in_before_its_own_answer_is_accepted(
    service: WorkflowService, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await waiting(service)
    gate = Gate(service._store, monkeypatch, before=False)
    second = send(service, number)
    await gate.reached.wait()  # it is in the inbox
    service._told([number])
    assert await heard(service, number) == [True]
    gate.open.set()
    assert await second is True
    assert await service.signal_execution(number, "go", "third", KEY) is False
    assert await heard(service, number) == [True]


async def test_many_callers_of_one_key_are_accepted_once(service: WorkflowService) -> None:
    number = await waiting(service)
    for key in map(str, range(20)):
        calls = (service.signal_execution(number, "go", caller, key) for caller in range(8))
        assert sorted(await asyncio.gather(*calls)) == [False] * 7 + [True]


async def test_one_for_an_ended_execution_is_refused_unless_it_was_heard(service: WorkflowService) -> None:
    number = await waiting(service)
    assert await service.signal_execution(number, "go", "first", KEY)
    await heard(service, number)
    assert await service.cancel_execution(number) is ExecutionStatus.CANCELLED
    assert await service.signal_execution(number, "go", "second", KEY) is False
    with pytest.raises(AlreadyEnded):
        await service.signal_execution(number, "go", "second", "another")
