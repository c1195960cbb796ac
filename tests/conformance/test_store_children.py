"""Children: their rows come with their parent's append, their ends with their own, each once or not at all."""

import asyncio

import pytest

from engine.errors import BatchRefused, LeaseLost
from engine.ports import Append, Cursor, ExecutionFilter, Signal, Store
from engine.states import ExecutionStatus
from storage import postgresql_appends
from tests.stores import SPACE, begins, ends, opened, parks, says, seqs, waits


def starts(parent: int, seq: int, *children: int) -> Append:
    """An append of `parent` with the starts of its children."""
    kin = tuple(waits(child, parent_id=parent, root_id=parent) for child in children)
    return says(parent, seq, children=kin)


def told(parent: int, child: int) -> Signal:
    return Signal(parent, "child", "child", b'{"n":1}', f"child:{child}")


def tells(child: int, seq: int, *signals: Signal) -> Append:
    return says(child, seq, status=ExecutionStatus.COMPLETED, signals=signals)


async def test_children_are_due_with_the_append_of_their_parent(store: Store, lease: int) -> None:
    parent, first, second = await store.reserve_ids(3)
    await store.commit(lease, 1, [begins(parent)])
    committed = await store.commit(lease, 2, [starts(parent, 2, first, second)])
    rows = await store.get_executions([parent, first, second])
    for child in (first, second):
        row = rows[child]
        assert (row.parent_id, row.root_id, row.owner, row.wake_at) == (parent, parent, None, committed.at)
        assert (row.status, row.started_at) == (ExecutionStatus.PENDING, None)
        assert await seqs(store, child) == [1]
    assert rows[parent].owner == lease
    claims = await store.claim(lease, 5)
    assert {row.id for row in claims.executions} == {first, second}


async def test_a_refused_append_starts_no_child(store: Store, lease: int) -> None:
    parent, child, other = await store.reserve_ids(3)
    await store.commit(lease, 1, [begins(parent)])
    with pytest.raises(BatchRefused):
        await store.commit(lease, 2, [begins(other), starts(parent, 1, child)])
    assert await store.get_executions([child, other]) == {}
    assert await seqs(store, child) == []
    await store.release_lease(lease)
    with pytest.raises(LeaseLost):
        await store.commit(lease, 3, [starts(parent, 2, child)])
    assert await store.get_executions([child]) == {}


async def test_the_same_append_again_starts_no_second_child(store: Store, lease: int) -> None:
    parent, child, another = await store.reserve_ids(3)
    await store.commit(lease, 1, [begins(parent)])
    await store.commit(lease, 2, [starts(parent, 2, child)])
    with pytest.raises(BatchRefused):
        await store.commit(lease, 3, [starts(parent, 2, another)])
    with pytest.raises(BatchRefused):
        await store.commit(lease, 4, [starts(parent, 3, child)])
    assert set(await store.get_executions([child, another])) == {child}
    assert await seqs(store, parent) == [1, 2]


async def test_an_end_wakes_the_parent_that_waits(store: Store, lease: int) -> None:
    parent, child = await store.reserve_ids(2)
    await store.commit(lease, 1, [begins(parent), begins(child, parent_id=parent)])
    await store.commit(lease, 2, [parks(parent, 2)])
    at = (await store.commit(lease, 3, [tells(child, 2, told(parent, child))])).at
    assert (await store.get_executions([parent]))[parent].wake_at == at
    (claimed,) = (await store.claim(lease, 5)).executions
    assert claimed.id == parent
    (signal,) = await store.inbox(lease, [parent])
    assert (signal.kind, signal.payload, signal.dedupe_key) == ("child", b'{"n":1}', f"child:{child}")
    await store.commit(lease, 4, [says(parent, 3, consumed=(signal.id,))])
    assert await store.inbox(lease, [parent]) == []


@pytest.mark.parametrize("order", [1, -1])
async def test_a_parent_that_parks_in_the_same_batch_is_due(store: Store, lease: int, order: int) -> None:
    parent, child = await store.reserve_ids(2)
    await store.commit(lease, 1, [begins(parent), begins(child)])
    batch = [parks(parent, 2), tells(child, 2, told(parent, child))][::order]
    at = (await store.commit(lease, 2, batch)).at
    row = (await store.get_executions([parent]))[parent]
    assert (row.owner, row.wake_at) == (None, at)


@pytest.mark.parametrize("order", [1, -1])
async def test_a_parent_that_has_ended_is_told_nothing(store: Store, lease: int, order: int) -> None:
    gone, ended, parent, child = await store.reserve_ids(4)
    await store.commit(lease, 1, [begins(parent), begins(child), begins(ended)])
    await store.commit(lease, 2, [ends(ended, 2)])
    signals = (told(gone, child), told(ended, child), told(parent, child))
    await store.commit(lease, 3, [ends(parent, 2), tells(child, 2, *signals)][::order])
    assert await store.inbox(lease, [gone, ended, parent]) == []
    assert await store.next_wake() is None
    assert (await store.get_executions([child]))[child].status is ExecutionStatus.COMPLETED


async def test_an_end_is_told_once(store: Store, lease: int) -> None:
    parent, child = await store.reserve_ids(2)
    await store.commit(lease, 1, [begins(parent), begins(child)])
    await store.put_signals([told(parent, child)])
    await store.commit(lease, 2, [tells(child, 2, told(parent, child), told(parent, child))])
    assert len(await store.inbox(lease, [parent])) == 1


async def test_a_cancel_reaches_children_that_start_in_the_same_append(store: Store, lease: int) -> None:
    parent, child = await store.reserve_ids(2)
    await store.commit(lease, 1, [begins(parent)])
    append = says(
        parent,
        2,
        status=ExecutionStatus.CANCELLED,
        children=(waits(child, parent_id=parent),),
        signals=(Signal(child, "cancel", "cancel", b"null", "cancel"),),
    )
    await store.commit(lease, 2, [append])
    assert [row.id for row in (await store.claim(lease, 5)).executions] == [child]
    assert [signal.kind for signal in await store.inbox(lease, [child])] == ["cancel"]


async def test_a_signal_of_an_append_leaves_the_owner_alone(store: Store, lease: int) -> None:
    parent, child = await store.reserve_ids(2)
    await store.commit(lease, 1, [begins(parent), begins(child)])
    await store.commit(lease, 2, [tells(child, 2, told(parent, child))])
    assert (await store.get_executions([parent]))[parent].owner == lease
    await store.commit(lease, 3, [says(parent, 2)])


async def test_executions_are_listed_by_parent(store: Store, lease: int) -> None:
    parent, other, *children = await store.reserve_ids(8)
    await store.commit(lease, 1, [begins(parent), begins(other)])
    for place, child in enumerate(children):
        await store.commit(lease, 2 + place, [starts(parent, 2 + place, child)])
    await store.commit(lease, 20, [starts(other, 2, *await store.reserve_ids(1))])
    (claimed,) = (await store.claim(lease, 1)).executions
    await store.commit(lease, 21, [ends(claimed.id, 2)])
    where = ExecutionFilter(SPACE, parent_id=parent)
    newest = [*reversed(children)]
    assert [row.id for row in await store.list_executions(where, None, 10)] == newest
    page = await store.list_executions(where, None, 2)
    after = Cursor(page[-1].created_at, page[-1].id)
    assert [row.id for row in await store.list_executions(where, after, 2)] == newest[2:4]
    done = (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED)
    for statuses, expected in (
        (done, [claimed.id]),
        (done[:1], [claimed.id]),
        ((ExecutionStatus.PENDING,), [child for child in newest if child != claimed.id]),
    ):
        where = ExecutionFilter(SPACE, 1, statuses, parent_id=parent)
        assert [row.id for row in await store.list_executions(where, None, 10)] == expected
    assert await store.list_executions(ExecutionFilter(SPACE, parent_id=claimed.id), None, 10) == []


async def test_two_engines_tell_each_others_executions(
    store: Store, lease: int, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ends children whose parents the other owns, again and again: neither waits for the other for ever."""
    if not store.shared:
        pytest.skip("one engine only")
    monkeypatch.setattr(postgresql_appends, "TRANSIENT_TRIES", 1)  # a deadlock is an error here
    rounds = 40
    mine, theirs = await store.reserve_ids(rounds), await store.reserve_ids(rounds)
    async with opened(store_url) as second:
        other = await second.acquire_lease("other", 60)
        await store.commit(lease, 1, [begins(number) for number in mine])
        await second.commit(other, 1, [begins(number) for number in theirs])

        async def end(on: Store, owner: int, ids: range, others: range) -> None:
            for place, number in enumerate(ids):
                signals = (told(parent, number) for parent in reversed(others))
                rest = (says(n, 2 + place, started=True) for n in ids[place + 1 :])
                await on.commit(owner, 2 + place, [tells(number, 2 + place, *signals), *rest])

        await asyncio.gather(end(store, lease, mine, theirs), end(second, other, theirs, mine))
    rows = await store.get_executions([*mine, *theirs])
    assert {row.status for row in rows.values()} == {ExecutionStatus.COMPLETED}
