"""Reads of executions and events, alone and many at once."""

import asyncio
from typing import Any

import pytest

from engine.model import ExecutionRow
from engine.ports import Append, Cursor, ExecutionFilter, Store
from engine.states import ExecutionStatus
from tests.stores import SPACE, STARTED, TOLD, begins, ends, execution, opened, parks, sql, waits

PLACES: list[dict[str, Any]] = [
    {},
    {"workflow_id": 1},
    {"statuses": (ExecutionStatus.RUNNING,)},
    {"statuses": (ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED)},
    {"workflow_id": 2, "statuses": (ExecutionStatus.COMPLETED, ExecutionStatus.WAITING, ExecutionStatus.COMPLETED)},
    {"workflow_id": 2, "statuses": (ExecutionStatus.WAITING,)},
]


async def test_events_after_a_seq_up_to_a_limit(store: Store, lease: int) -> None:
    first, second = await store.reserve_ids(2)
    await store.commit(lease, 1, [Append(n, 1, (STARTED, *[TOLD] * 9), execution()) for n in (first, second)])
    found = await store.read_events({first: 7, second: 0}, limit=4)
    assert [e.seq for e in found[first]] == [8, 9, 10]
    assert [e.seq for e in found[second]] == [1, 2, 3, 4]
    assert await store.read_events({}) == {}
    assert await store.read_events({first: 10, -1: 0, 2**80: 0, second: 2**40}) == {
        first: [],
        -1: [],
        2**80: [],
        second: [],
    }


async def test_callers_at_once_each_get_their_own_answer(store: Store, lease: int) -> None:
    ids = await store.reserve_ids(40)
    await store.commit(lease, 1, [Append(n, 1, (STARTED, TOLD, TOLD), execution()) for n in ids])
    events = await asyncio.gather(*(store.read_events({n: n % 3, ids[0]: 2}, limit=1 + n % 2) for n in ids[1:]))
    for number, found in zip(ids[1:], events, strict=True):
        expected = list(range(1 + number % 3, 4))[: 1 + number % 2]
        assert [(e.execution_id, e.seq) for e in found[number]] == [(number, seq) for seq in expected]
        assert [e.seq for e in found[ids[0]]] == [3]
    rows = await asyncio.gather(*(store.get_executions([n, 999_999]) for n in ids))
    assert [list(found) for found in rows] == [[n] for n in ids]
    assert await store.get_executions([-1, 0, 2**80]) == {}


async def test_a_caller_that_gives_up_disturbs_nobody(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    tasks = [asyncio.create_task(store.get_executions([number])) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks[::2], return_exceptions=True)
    assert [list(found) for found in await asyncio.gather(*tasks[1::2])] == [[number]] * 10
    assert (await store.get_executions([number])).keys() == {number}


async def test_a_commit_whose_caller_gives_up_harms_nobody(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    task = asyncio.create_task(store.commit(lease, 1, [begins(number)]))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (after,) = await store.reserve_ids(1)
    await store.commit(lease, 2, [begins(after)])
    assert after in await store.get_executions([after])


@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_pages_follow_each_other_without_gap_or_repeat(
    store: Store, store_url: str, lease: int, place: dict[str, Any]
) -> None:
    await _populate(store, lease)
    sql(store_url, "UPDATE execution SET created_at = (SELECT min(created_at) FROM execution) WHERE id % 3 = 0")
    where = ExecutionFilter(SPACE, **place)
    everything = await store.list_executions(where, None, 1000)
    walked: list[ExecutionRow] = []
    after = None
    while page := await store.list_executions(where, after, 3):
        walked += page
        after = Cursor(page[-1].created_at, page[-1].id)
    assert walked == everything == sorted(everything, key=lambda row: (row.created_at, row.id), reverse=True)
    rows = (await store.get_executions(range(1, 100))).values()
    assert {row.id for row in everything} == {row.id for row in rows if _fits(row, **place)}


def _fits(row: ExecutionRow, workflow_id: int | None = None, statuses: tuple[ExecutionStatus, ...] = ()) -> bool:
    right = workflow_id in {None, row.workflow_id} and (not statuses or row.status in statuses)
    return right and row.namespace == SPACE


async def _populate(store: Store, lease: int) -> None:
    ids = await store.reserve_ids(24)
    for n in ids:
        space = "other" if n % 8 == 0 else SPACE
        await store.commit(lease, n, [begins(n, workflow_id=1 + n % 2, namespace=space)])
    await store.commit(lease, 100, [ends(n, 2) for n in ids if n % 4 == 1])
    await store.commit(lease, 101, [parks(n, 2) for n in ids if n % 4 == 3])


async def test_a_page_stands_still_while_others_start(store: Store, lease: int) -> None:
    ids = await store.reserve_ids(6)
    for number in ids[:4]:
        await store.commit(lease, number, [waits(number)])
    page = await store.list_executions(ExecutionFilter(SPACE), None, 2)
    for number in ids[4:]:
        await store.commit(lease, number, [waits(number)])
    after = Cursor(page[-1].created_at, page[-1].id)
    assert [row.id for row in await store.list_executions(ExecutionFilter(SPACE), after, 10)] == [ids[1], ids[0]]


async def test_times_bound_a_list(store: Store, lease: int) -> None:
    ids = await store.reserve_ids(3)
    at = [(await store.commit(lease, number, [waits(number)])).at for number in ids]
    where = ExecutionFilter(SPACE, created_from=at[1], created_to=at[2])
    assert [row.id for row in await store.list_executions(where, None, 10)] == [ids[1]]


async def test_a_store_that_was_closed_is_opened_again_with_everything(store_url: str) -> None:
    async with opened(store_url) as store:
        lease = await store.acquire_lease("test", 60)
        (number,) = await store.reserve_ids(1)
        first = await store.commit(lease, 1, [begins(number)])
        await store.ping()
    async with opened(store_url) as store:
        heir = await store.acquire_lease("heir", 60)
        assert heir > lease
        (other,) = await store.reserve_ids(1)
        assert other > number
        second = await store.commit(heir, 1, [begins(other)])
        assert second.at >= first.at
        assert (await store.get_executions([number])).keys() == {number}
