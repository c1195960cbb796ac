"""Calls get their sealed secrets on the way to an executor, and nothing else about them changes."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import pytest

from bootstrap.vault import AesVault, new_key, open_vault
from engine import sealing
from engine.errors import StoreUnavailable
from engine.expressions.templates import sealed
from engine.keeper import Keeper
from engine.model import Completed, Envelope, Failed, Result, TaskCall
from engine.sealing import SealingExecutor
from engine.secrets import Secret
from engine.task_ports import Report

VAULT: AesVault = open_vault(new_key("k"))


class Shelf:
    """A store of secrets that answers when it is let."""

    def __init__(self) -> None:
        self.there = {"x": VAULT.seal("default", "x", "value", ())}
        self.let = asyncio.Event()
        self.broken = False

    async def get_secrets(self, namespace: str, names: Sequence[str]) -> dict[str, Secret]:
        await self.let.wait()
        if self.broken:
            raise StoreUnavailable()
        return {name: Secret(self.there[name], 0, 0) for name in names if name in self.there}


class Inner:
    """An executor that does nothing by itself."""

    name: ClassVar[str] = "inner"
    outlives: ClassVar[bool] = True

    def __init__(self) -> None:
        self.submitted: list[TaskCall] = []
        self.cancelled: list[TaskCall] = []
        self.detached: list[TaskCall] = []
        self.report: Report

    async def start(self, report: Report) -> None:
        self.report = report

    async def stop(self) -> None:
        """Nothing runs."""

    def attach(self, calls: Sequence[TaskCall]) -> Sequence[TaskCall]:
        return calls

    def submit(self, calls: Sequence[TaskCall]) -> None:
        self.submitted += calls

    def cancel(self, calls: Sequence[TaskCall]) -> None:
        self.cancelled += calls

    def detach(self, calls: Sequence[TaskCall]) -> None:
        self.detached += calls


class World:
    def __init__(self) -> None:
        self.shelf, self.inner = Shelf(), Inner()
        store: Any = self.shelf
        self.executor = SealingExecutor(self.inner, Keeper(store, VAULT))
        self.reports: list[tuple[TaskCall, Result]] = []

    async def settle(self) -> None:
        self.shelf.let.set()
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.executor.start(lambda call, result, elapsed: world.reports.append((call, result)))
    return world


def call(name: str | None = "x", task: str = "a") -> TaskCall:
    return TaskCall(1, task, "http_request", {"headers": {"k": sealed(name)} if name else {}})


async def test_a_call_without_secrets_passes_at_once(world: World) -> None:
    plain = call(None)
    world.executor.submit([plain])
    assert world.inner.submitted == [plain]
    world.inner.report(plain, Completed(1), 0.1)
    assert world.reports[0][0] is plain
    assert (world.executor.name, world.executor.outlives) == ("inner", True)


async def test_a_call_gets_what_it_refers_to_and_is_reported_as_it_was(world: World) -> None:
    mine = call()
    world.executor.submit([mine])
    assert world.inner.submitted == []
    await world.settle()
    (sent,) = world.inner.submitted
    assert sent.secrets == {"x": world.shelf.there["x"]}
    assert sent.config == mine.config
    world.inner.report(sent, Completed(1), 0.1)
    assert [(reported is mine, result) for reported, result in world.reports] == [(True, Completed(1))]


async def test_what_is_not_there_is_a_final_failure(world: World) -> None:
    world.executor.submit([call("none")])
    await world.settle()
    found = [(result.error.type, result.retryable) for _, result in world.reports if isinstance(result, Failed)]
    assert found == [("unknown_secret", False)]
    assert world.inner.submitted == []


async def test_while_the_database_is_away_a_call_waits_and_is_no_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "RETRY", 0)
    world.shelf.broken = True
    world.executor.submit([call()])
    await world.settle()
    assert (world.inner.submitted, world.reports) == ([], [])
    world.shelf.broken = False
    await world.settle()
    assert [list(sent.secrets) for sent in world.inner.submitted] == [["x"]]


async def test_a_cancelled_call_is_never_sent(world: World) -> None:
    mine = call()
    world.executor.submit([mine])
    world.executor.cancel([mine])
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await world.settle()
    assert (world.inner.submitted, world.inner.cancelled, world.reports) == ([], [], [])


@pytest.mark.parametrize("verb", ["cancel", "detach"])
async def test_the_inner_executor_is_told_of_what_it_knows(world: World, verb: str) -> None:
    mine, plain = call(), call(None, "b")
    world.executor.submit([mine, plain])
    await world.settle()
    getattr(world.executor, verb)([mine, plain])
    known = world.inner.cancelled + world.inner.detached
    assert known[0] is world.inner.submitted[1]
    assert known[1] is plain


async def test_a_stop_leaves_nothing_behind(world: World) -> None:
    world.executor.submit([call()])
    await world.executor.stop()
    await world.settle()
    assert (world.inner.submitted, world.reports) == ([], [])


def test_a_sealed_call_travels_as_json() -> None:
    envelope = Envelope("x", "k", b"\0\xff", b"\xfe", ("h",))
    sent = TaskCall(1, "a", "http_request", {"a": sealed("x")}, secrets={"x": envelope})
    assert msgspec.json.decode(msgspec.json.encode(sent), type=TaskCall) == sent
    assert msgspec.convert(msgspec.to_builtins(sent), TaskCall) == sent
