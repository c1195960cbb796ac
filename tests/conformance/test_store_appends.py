"""Appends: all or nothing, fenced, and what they leave in the rows."""

import asyncio
import time
from typing import Any

import pytest

from engine.errors import BatchRefused, LeaseLost
from engine.events import EventRecord
from engine.model import FORMAT
from engine.ports import Append, Committed, Duplicate, Signal, Store
from engine.states import ExecutionStatus
from tests.stores import STARTED, TOLD, begins, ends, execution, parks, says, seqs, waits


async def test_a_batch_is_durable_and_read_back(store: Store, lease: int) -> None:
    first, second = await store.reserve_ids(2)
    data = bytes(range(256)) + '"äöü{},\\\'"'.encode()
    told = EventRecord("TaskCompleted", data)
    committed = await store.commit(lease, 1, [Append(first, 1, (STARTED, told), execution()), begins(second)])
    events = await store.read_events({first: 0, second: 0, 99: 0})
    assert [(e.execution_id, e.seq, e.type, e.v, e.at, e.lease, e.data) for e in events[first]] == [
        (first, 1, "ExecutionStarted", FORMAT, committed.at, lease, b"{}"),
        (first, 2, "TaskCompleted", FORMAT, committed.at, lease, data),
    ]
    assert [e.seq for e in events[second]] == [1]
    assert events[99] == []
    assert abs(committed.at - time.time()) < 60
    assert committed.duplicates == {}


async def test_the_row_of_a_start(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    start: dict[str, Any] = {
        "labels": {"team": "a'b\"c\\d", "ü": "%s"},
        "priority": -3,
        "queue": "it's",
        "parent_id": 5,
        "root_id": 4,
        "rerun_of": 3,
        "idempotency_key": "k'%s\\",
        "request_digest": b"\x00\xff",
    }
    committed = await store.commit(lease, 1, [begins(number, **start)])
    row = (await store.get_executions([number]))[number]
    assert (row.owner, row.status, row.wake_at) == (lease, ExecutionStatus.RUNNING, None)
    assert row.created_at == row.started_at == committed.at
    assert row.ended_at is None
    assert (row.labels, row.priority, row.queue) == (start["labels"], -3, "it's")
    assert (row.parent_id, row.root_id, row.rerun_of, row.idempotency_key) == (5, 4, 3, "k'%s\\")


async def test_a_start_that_nobody_owns_is_due_at_once(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    committed = await store.commit(lease, 1, [waits(number)])
    row = (await store.get_executions([number]))[number]
    assert (row.owner, row.status, row.wake_at, row.started_at) == (None, "pending", committed.at, None)


async def test_a_start_may_end_or_park_in_its_first_append(store: Store, lease: int) -> None:
    ended, parked = await store.reserve_ids(2)
    start = execution(status=ExecutionStatus.COMPLETED)
    sleeping = parks(parked, 1, wake_in=30.0)
    appends = [
        Append(ended, 1, (STARTED,), start),
        Append(parked, 1, (STARTED,), execution(status=ExecutionStatus.WAITING), park=sleeping.park),
    ]
    committed = await store.commit(lease, 1, appends)
    rows = await store.get_executions([ended, parked])
    assert (rows[ended].owner, rows[ended].wake_at, rows[ended].ended_at) == (None, None, committed.at)
    assert rows[parked].owner is None
    assert rows[parked].wake_at == pytest.approx(committed.at + 30, abs=1e-5)


async def test_a_lost_lease_writes_nothing(store: Store, lease: int) -> None:
    first, second = await store.reserve_ids(2)
    await store.commit(lease, 1, [begins(first)])
    await store.release_lease(lease)
    with pytest.raises(LeaseLost):
        await store.commit(lease, 2, [says(first, 2), begins(second)])
    assert await seqs(store, first) == [1]
    assert await store.get_executions([second]) == {}


async def test_an_unknown_lease_writes_nothing(store: Store) -> None:
    with pytest.raises(LeaseLost):
        await store.commit(4711, 1, [begins(1)])
    assert await store.get_executions([1]) == {}


async def test_a_seq_that_exists_refuses_the_batch(store: Store, lease: int) -> None:
    first, second = await store.reserve_ids(2)
    await store.commit(lease, 1, [begins(first)])
    with pytest.raises(BatchRefused):
        await store.commit(lease, 2, [begins(second), says(first, 2), says(first, 1, started=True)])
    assert await seqs(store, first) == [1]
    assert await store.get_executions([second]) == {}
    await store.commit(lease, 3, [begins(second), says(first, 2)])
    assert await seqs(store, first) == [1, 2]


@pytest.mark.parametrize("of", ["another lease", "nobody", "an unknown one"])
async def test_a_row_that_is_not_ours_refuses_the_batch(store: Store, lease: int, of: str) -> None:
    ours, other = await store.reserve_ids(2)
    await store.commit(lease, 1, [begins(ours)])
    if of == "nobody":
        await store.commit(lease, 2, [waits(other)])
    if of == "another lease":
        await store.commit(lease, 2, [begins(other)])
        await store.release_lease(lease)
        lease = await store.acquire_lease("other", 60)
        await store.claim(lease, 1)
        ours, other = (ours, other) if (await store.get_executions([ours]))[ours].owner == lease else (other, ours)
    before = await store.get_executions([ours, other])
    with pytest.raises(BatchRefused):
        await store.commit(lease, 3, [says(ours, 2, status=ExecutionStatus.WAITING), parks(other, 2)])
    assert await store.get_executions([ours, other]) == before
    assert await seqs(store, ours) == [1]


async def test_a_park_is_due_at_the_earlier_of_the_two(store: Store, lease: int) -> None:
    ids = await store.reserve_ids(4)
    begun = await store.commit(lease, 1, [begins(number) for number in ids])
    soon = begun.at + 5.25
    dues = [{"wake_in": 1000.0, "wake_at": soon}, {"wake_in": 2.5}, {"wake_in": 1.0, "wake_at": soon + 1000}, {}]
    at = (await store.commit(lease, 2, [parks(n, 2, **due) for n, due in zip(ids, dues, strict=True)])).at
    rows = await store.get_executions(list(ids))
    assert [rows[number].owner for number in ids] == [None] * 4
    wakes = [rows[number].wake_at for number in ids]
    assert wakes[0] == soon
    assert wakes[1] == pytest.approx(at + 2.5, abs=1e-5)
    assert wakes[2] == pytest.approx(at + 1, abs=1e-5)
    assert wakes[3] is None


async def test_the_end_frees_the_owner_and_empties_the_inbox(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    await store.put_signals([Signal(number, "event", "late")])
    at = (await store.commit(lease, 2, [ends(number, 2)])).at
    row = (await store.get_executions([number]))[number]
    assert (row.status, row.owner, row.wake_at, row.ended_at) == (ExecutionStatus.COMPLETED, None, None, at)
    assert await store.inbox(lease, [number]) == []
    assert await store.next_wake() is None


async def test_the_first_started_stands(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [waits(number)])
    await store.claim(lease, 1)
    at = (await store.commit(lease, 2, [says(number, 2, started=True, status=ExecutionStatus.RUNNING)])).at
    await store.commit(lease, 3, [says(number, 3, started=True)])
    row = (await store.get_executions([number]))[number]
    assert (row.started_at, row.status, row.owner) == (at, ExecutionStatus.RUNNING, lease)


async def test_a_batch_without_events_may_change_rows(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    await store.commit(lease, 2, [Append(number, 2, park=parks(number, 2).park)])
    assert (await store.get_executions([number]))[number].owner is None
    assert (await store.commit(lease, 3, [])).at > 0


async def test_large_batches_keep_every_event_in_order(store: Store, lease: int) -> None:
    ids = await store.reserve_ids(513)
    await store.commit(lease, 1, [begins(number) for number in ids])
    await store.commit(lease, 2, [Append(number, 2, (TOLD, STARTED)) for number in ids])
    events = await store.read_events(dict.fromkeys(ids, 0))
    assert {tuple(e.seq for e in found) for found in events.values()} == {(1, 2, 3)}
    await store.commit(lease, 3, [parks(number, 4, wake_in=0.0) for number in ids])
    assert len((await store.claim(lease, 1000)).executions) == 513


async def test_a_payload_of_a_mebibyte(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    data = b'"' + b"x" * 1024 * 1024 + b'"'
    await store.commit(lease, 1, [Append(number, 1, (STARTED, EventRecord("TaskCompleted", data)), execution())])
    assert (await store.read_events({number: 1}))[number][0].data == data


async def test_the_time_never_goes_back(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    first = await store.commit(lease, 1, [begins(number)])
    later = [await store.commit(lease, seq, [says(number, seq)]) for seq in range(2, 20)]
    times = [committed.at for committed in (first, *later)]
    assert times == sorted(times)


async def test_what_cannot_be_stored_is_refused(store: Store, lease: int) -> None:
    ok, bad = await store.reserve_ids(2)
    with pytest.raises(BatchRefused):
        await store.commit(lease, 1, [begins(ok), begins(bad, idempotency_key="\ud800")])
    with pytest.raises(BatchRefused):
        await store.commit(lease, 2, [begins(ok), begins(bad, workflow_id=2**63)])
    assert await store.get_executions([ok, bad]) == {}
    await store.commit(lease, 3, [begins(ok)])


# --- idempotent starts ---


async def test_a_key_starts_one_execution(store: Store, lease: int) -> None:
    first, second, third = await store.reserve_ids(3)
    await store.commit(lease, 1, [begins(first, idempotency_key="k", request_digest=b"one")])
    appends = [begins(second, idempotency_key="k", request_digest=b"two"), begins(third)]
    committed = await store.commit(lease, 2, appends)
    assert committed.duplicates == {second: Duplicate(first, b"one")}
    assert (await store.get_executions([first, second, third])).keys() == {first, third}
    assert await seqs(store, second) == []


async def test_the_first_of_a_batch_wins_a_key(store: Store, lease: int) -> None:
    ids = await store.reserve_ids(4)
    appends = [begins(n, idempotency_key=key) for n, key in zip(ids, "baab", strict=True)]
    committed = await store.commit(lease, 1, appends)
    assert {n: d.execution_id for n, d in committed.duplicates.items()} == {ids[2]: ids[1], ids[3]: ids[0]}
    assert (await store.get_executions(list(ids))).keys() == {ids[0], ids[1]}


async def test_keys_are_per_namespace_and_workflow(store: Store, lease: int) -> None:
    ids = await store.reserve_ids(3)
    scopes: list[dict[str, Any]] = [{}, {"workflow_id": 2}, {"namespace": "other"}]
    appends = [begins(n, idempotency_key="k", **scope) for n, scope in zip(ids, scopes, strict=True)]
    assert (await store.commit(lease, 1, appends)).duplicates == {}


async def test_a_refused_batch_frees_its_keys(store: Store, lease: int) -> None:
    first, second = await store.reserve_ids(2)
    with pytest.raises(BatchRefused):
        await store.commit(lease, 1, [begins(first, idempotency_key="k"), says(second, 1, started=True)])
    committed = await store.commit(lease, 2, [begins(second, idempotency_key="k")])
    assert committed.duplicates == {}


async def test_starts_without_a_lease(store: Store) -> None:
    first, second = await store.reserve_ids(2)
    appends = [waits(first, idempotency_key="k", request_digest=b"q"), waits(second, idempotency_key="k")]
    committed = await store.start(appends)
    assert committed.duplicates == {second: Duplicate(first, b"q")}
    (event,) = (await store.read_events({first: 0}))[first]
    assert (event.lease, event.at) == (None, committed.at)
    with pytest.raises(BatchRefused):
        await store.start([waits(first)])


async def test_of_many_starts_at_once_one_that_is_refused_harms_no_other(store: Store) -> None:
    taken, *ids = await store.reserve_ids(40)
    await store.start([waits(taken)])
    answers = await asyncio.gather(*(store.start([waits(number)]) for number in (*ids, taken)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Committed] * len(ids) + [BatchRefused]
    assert set(await store.get_executions(ids)) == set(ids)


async def test_one_key_and_many_callers(store: Store) -> None:
    ids = await store.reserve_ids(40)
    answers = await asyncio.gather(*(store.start([waits(n, idempotency_key=f"k{n % 4}")]) for n in ids))
    lost = {n for answer in answers for n in answer.duplicates}
    assert len(lost) == 36
    assert (await store.get_executions(list(ids))).keys() == set(ids) - lost
    assert {d.execution_id for a in answers for d in a.duplicates.values()} == set(ids) - lost
