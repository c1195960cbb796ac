"""The journal as the relay reads it, its mark, and its lease."""

import asyncio

import pytest

from engine.errors import LeaseLost
from engine.events import EventRecord
from engine.outbox import OutboxEvent, Position
from engine.ports import Append, Store
from storage.records import OUTBOX_BYTES
from tests.stores import STARTED, begins, execution, says, sql

START = Position()
ALL = 1000


async def outbox(store: Store, after: Position = START, limit: int = ALL) -> list[OutboxEvent]:
    """When nothing is held back any more: on PostgreSQL transactions of other databases of the server do that, too."""
    async with asyncio.timeout(20):
        while (found := await store.read_outbox(after, limit)).held and len(found.events) < limit:
            await asyncio.sleep(0.01)
    return list(found.events)


def places(events: list[OutboxEvent]) -> list[tuple[int, int]]:
    return [(event.execution_id, event.seq) for event in events]


# --- reading ---


async def test_an_empty_journal_has_nothing_to_publish(store: Store) -> None:
    found = await store.read_outbox(START, ALL)
    assert (found.events, found.held) == ((), False)
    assert await store.rewind_outbox(START, 10) == START


async def test_an_event_carries_what_a_consumer_needs(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    data = EventRecord("TaskCompleted", '{"task":"ü","output":"\\\\ \'"}'.encode())
    start = execution(workflow_id=77)
    at = (await store.commit(lease, 1, [Append(number, 1, (STARTED, data), start)])).at
    first, second = await outbox(store)
    assert (first.execution_id, first.seq, first.workflow_id, first.type, first.data) == (
        *(number, 1, 77),
        *(STARTED.type, STARTED.data),
    )
    assert (second.seq, second.type, second.data) == (2, data.type, data.data)
    assert first.at == second.at == at
    assert first.position < second.position


async def test_commits_come_in_their_order_and_one_commit_by_execution(store: Store, lease: int) -> None:
    one, two, three = await store.reserve_ids(3)
    await store.commit(lease, 1, [begins(three), begins(one)])
    await store.start([begins(two, owned=False)])
    await store.commit(lease, 2, [says(one, 2), says(three, 2)])
    await store.commit(lease, 3, [says(one, 3)])
    expected = [(one, 1), (three, 1), (two, 1), (one, 2), (three, 2), (one, 3)]
    assert places(await outbox(store)) == expected
    orders = [event.position for event in await outbox(store)]
    assert orders == sorted(set(orders))


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_reading_goes_on_after_any_event(store: Store, lease: int, limit: int) -> None:
    ids = await store.reserve_ids(5)
    await store.commit(lease, 1, [begins(number) for number in ids])
    for seq in range(2, 5):
        await store.commit(lease, seq, [says(number, seq) for number in ids[seq - 2 :]])
    whole = await outbox(store)
    assert len(whole) == 5 + 5 + 4 + 3
    found: list[OutboxEvent] = []
    while more := await outbox(store, found[-1].position if found else START, limit):
        assert len(more) <= limit
        found += more
    assert found == whole


async def test_what_is_appended_later_comes_later(store: Store, lease: int) -> None:
    late, early = await store.reserve_ids(2)
    await store.commit(lease, 1, [begins(early)])
    (first,) = await outbox(store)
    await store.commit(lease, 2, [begins(late)])
    assert places(await outbox(store, first.position)) == [(late, 1)]


async def test_large_events_come_in_smaller_batches(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    large = EventRecord("TaskCompleted", b'"' + b"x" * (OUTBOX_BYTES // 2) + b'"')
    await store.commit(lease, 1, [Append(number, 1, (large, large, large, STARTED), execution())])
    first = await outbox(store)
    assert places(first) == [(number, 1), (number, 2)]
    assert places(await outbox(store, first[-1].position)) == [(number, 3), (number, 4)]


async def test_an_execution_that_is_gone_has_no_workflow(store: Store, store_url: str, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    sql(store_url, "DELETE FROM execution")
    assert [event.workflow_id for event in await outbox(store)] == [0]


async def test_rewinding_leaves_at_least_so_many_events(store: Store, lease: int) -> None:
    ids = await store.reserve_ids(3)
    await store.commit(lease, 1, [begins(number) for number in ids])
    for seq in range(2, 6):
        await store.commit(lease, seq, [says(number, seq) for number in ids])
    whole = await outbox(store)
    for count in range(len(whole) + 3):
        back = await store.rewind_outbox(whole[-1].position, count)
        left = len(await outbox(store, back))
        assert min(count, len(whole)) <= left <= min(count + 3, len(whole))
    assert await store.rewind_outbox(whole[-1].position, ALL) == START


# --- the lease and the mark ---


async def test_one_relay_at_a_time(store: Store) -> None:
    first = await store.take_relay("one", 60)
    assert first is not None
    assert first.mark == START
    assert first.journal
    assert await store.take_relay("two", 60) is None
    assert await store.take_relay("one", 60) is None
    await store.release_lease(first.lease)
    second = await store.take_relay("two", 60)
    assert second is not None
    assert second.lease > first.lease
    assert second.journal == first.journal


async def test_the_next_relay_goes_on_at_the_mark(store: Store) -> None:
    term = await store.take_relay("one", 60)
    assert term is not None
    await store.mark_relay(term.lease, Position(7, 8, 9), 60)
    await store.mark_relay(term.lease, Position(2**52, 2**53, 10), 60)
    await store.release_lease(term.lease)
    with pytest.raises(LeaseLost):
        await store.mark_relay(term.lease, Position(2**52, 2**53, 11), 60)
    if store.shared:  # so far beyond the server's own transactions is a mark of another server
        return
    heir = await store.take_relay("two", 60)
    assert heir is not None
    assert heir.mark == Position(2**52, 2**53, 10)


async def test_an_expired_relay_is_replaced_and_fenced(store: Store, lease: int) -> None:
    await store.commit(lease, 1, [begins(number) for number in await store.reserve_ids(2)])
    first, second = await outbox(store)
    zombie = await store.take_relay("one", 0.01)
    assert zombie is not None
    await store.mark_relay(zombie.lease, first.position, 0.01)
    await asyncio.sleep(0.02)
    heir = await store.take_relay("two", 60)
    assert heir is not None
    assert heir.mark == first.position
    with pytest.raises(LeaseLost):
        await store.mark_relay(zombie.lease, second.position, 60)
    assert await store.take_relay("one", 60) is None
    await store.mark_relay(heir.lease, second.position, 60)


async def test_a_mark_renews_the_lease(store: Store) -> None:
    term = await store.take_relay("one", 0.01)
    assert term is not None
    await store.mark_relay(term.lease, START, 60)
    await asyncio.sleep(0.02)
    assert await store.take_relay("two", 60) is None


async def test_the_relays_lease_owns_nothing_and_harms_no_engine(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    term = await store.take_relay("one", 60)
    assert term is not None
    await store.release_lease(term.lease)
    assert await store.owned(lease) == [number]
    await store.commit(lease, 2, [says(number, 2)])


async def test_relays_that_race_for_the_lease_leave_one(store: Store) -> None:
    terms = await asyncio.gather(*(store.take_relay(str(n), 60) for n in range(8)))
    assert len([term for term in terms if term is not None]) == 1
