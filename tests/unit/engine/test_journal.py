"""The write queue: batches, order, bad items, a lost lease, a database that is away."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from engine import journal
from engine.errors import BatchRefused, LeaseLost, MillraceError, StoreUnavailable
from engine.events import EventRecord
from engine.journal import WriteQueue
from engine.ports import Append, Committed, JournalStore

Answer = Committed | MillraceError


class Log:
    """The commits that a queue asks for, and what it answers to whom. `obey` may raise for a batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.numbers: list[int] = []
        self.leases: list[int] = []
        self.answers: dict[int, list[Answer]] = {}
        self.settled = 0
        self.obey: Callable[[list[int]], None] = lambda batch: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.queue = WriteQueue(cast("JournalStore", self), self._settle)

    async def commit(self, lease: int, batch: int, appends: Sequence[Append]) -> Committed:
        ids = [append.execution_id for append in appends]
        self.batches.append(ids)
        self.numbers.append(batch)
        self.leases.append(lease)
        await self.gate.wait()
        self.obey(ids)
        return Committed(at=float(len(self.batches)))

    def _settle(self) -> None:
        self.settled += 1

    def put(self, *numbers: int, size: int = 10) -> None:
        for number in numbers:
            append = Append(number, 1, (EventRecord("TaskStarted", b"x" * size),))
            self.queue.put(append, lambda answer, number=number: self.answers.setdefault(number, []).append(answer))  # type: ignore[misc]

    async def done(self, *numbers: int) -> None:
        async with asyncio.timeout(5):
            while not all(number in self.answers for number in numbers):
                await asyncio.sleep(0)


@pytest.fixture
async def log(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(journal, "RETRY_FIRST", 0.001)
    log = Log()
    log.queue.start(7)
    yield log
    await log.queue.stop()


async def test_a_lone_append_waits_for_nobody(log: Log) -> None:
    log.put(1)
    await log.done(1)
    assert (log.batches, log.leases, log.settled) == ([[1]], [7], 1)


async def test_what_comes_during_a_commit_is_the_next_batch_in_order(log: Log) -> None:
    log.gate.clear()
    log.put(1)
    while not log.batches:
        await asyncio.sleep(0)
    log.put(*range(2, 50))
    log.gate.set()
    await log.done(*range(1, 50))
    assert log.batches == [[1], list(range(2, 50))]
    assert len(set(log.numbers)) == 2
    assert all(len(answers) == 1 for answers in log.answers.values())


@pytest.mark.parametrize(("waiting", "batches"), [(journal.SMALL - 1, 2), (journal.SMALL, 3)])
async def test_what_a_commit_allowed_joins_a_small_batch_that_waits(log: Log, waiting: int, batches: int) -> None:
    log.gate.clear()
    append = Append(0, 1, (EventRecord("TaskStarted", b""),))

    def follow(_: Answer) -> None:
        asyncio.get_running_loop().call_soon(log.put, 1_000)

    log.queue.put(append, follow)
    while not log.batches:
        await asyncio.sleep(0)
    log.put(*range(1, waiting + 1))
    log.gate.set()
    await log.done(*range(1, waiting + 1), 1_000)
    assert len(log.batches) == batches
    assert log.batches[-1][-1] == 1_000


async def test_a_batch_is_bounded_by_items_and_by_bytes(log: Log) -> None:
    log.put(*range(1_200))
    await log.done(*range(1_200))
    assert [len(batch) for batch in log.batches] == [512, 512, 176]
    log.batches.clear()
    log.put(*range(2_000, 2_010), size=1024 * 1024)
    await log.done(*range(2_000, 2_010))
    assert [len(batch) for batch in log.batches] == [4, 4, 2]


@pytest.mark.parametrize("error", [BatchRefused("bad seq"), ValueError("cannot bind"), KeyError("x")])
@pytest.mark.parametrize("bad", [{13}, {0}, {99}, {3, 4, 50}])
async def test_a_bad_item_harms_nobody_else(log: Log, error: Exception, bad: set[int]) -> None:
    def obey(batch: list[int]) -> None:
        if bad & set(batch):
            raise error

    log.obey = obey
    log.put(*range(100))
    await log.done(*range(100))
    refused = {number for number, (answer,) in log.answers.items() if isinstance(answer, BatchRefused)}
    assert refused == bad
    assert all(isinstance(log.answers[number][0], Committed) for number in set(range(100)) - bad)
    assert len(set(log.numbers)) == len(log.numbers)


async def test_one_who_cannot_bear_the_answer_harms_nobody_else(log: Log) -> None:
    def choke(answer: Answer) -> None:
        raise ZeroDivisionError

    log.queue.put(Append(1, 1), choke)
    log.put(2)
    await log.done(2)
    log.put(3)
    await log.done(3)


async def test_a_batch_is_kept_while_the_database_is_away(log: Log) -> None:
    away = [True] * 3

    def obey(batch: list[int]) -> None:
        if away:
            away.pop()
            raise StoreUnavailable

    log.obey = obey
    log.put(1, 2)
    await log.done(1, 2)
    assert log.batches == [[1, 2]] * 4
    assert len(set(log.numbers)) == 1, "the same number tells the store that it is the same batch"


async def test_a_lost_lease_refuses_all_until_the_next(log: Log) -> None:
    lost: list[int] = []
    log.queue.on_lost = lambda: lost.append(1)

    def obey(batch: list[int]) -> None:
        if log.leases[-1] == 7:
            raise LeaseLost

    log.obey = obey
    log.gate.clear()
    log.put(1)
    while not log.batches:
        await asyncio.sleep(0)
    log.put(2)
    log.gate.set()
    await log.done(1, 2)
    log.put(3)
    await log.done(3)
    assert all(isinstance(answer, LeaseLost) for (answer,) in log.answers.values())
    assert (lost, log.batches) == ([1], [[1]])
    log.queue.start(8)
    log.put(4)
    await log.done(4)
    assert isinstance(log.answers[4][0], Committed)
    assert log.leases == [7, 8]


async def test_a_lease_lost_while_halving_is_told_once(log: Log) -> None:
    lost: list[int] = []
    log.queue.on_lost = lambda: lost.append(1)

    def obey(batch: list[int]) -> None:
        raise BatchRefused if len(batch) > 1 else LeaseLost

    log.obey = obey
    log.put(*range(8))
    await log.done(*range(8))
    assert lost == [1]
    assert all(isinstance(answer, LeaseLost) for (answer,) in log.answers.values())


async def test_stopping_commits_what_is_queued() -> None:
    log = Log()
    log.queue.start(1)
    log.put(*range(600))
    await log.queue.stop()
    assert len(log.answers) == 600
    await log.queue.stop()


async def test_what_was_written_under_a_lease_stays_under_it(log: Log) -> None:
    def obey(batch: list[int]) -> None:
        if len(batch) > 1:
            log.queue.start(8)
            raise BatchRefused

    log.obey = obey
    log.put(1, 2)
    await log.done(1, 2)
    assert log.leases == [7, 7, 7]
