"""Leases, claims, the sweep and the inbox."""

import asyncio
import time

import pytest

from engine.errors import LeaseLost
from engine.model import FORMAT
from engine.ports import Signal, Store
from engine.states import ExecutionStatus
from tests.stores import begins, ends, parks, says, seqs, sql, waits


async def test_lease_ids_only_grow(store: Store) -> None:
    leases = []
    for _ in range(3):
        leases.append(await store.acquire_lease("test", 60))
        await store.release_lease(leases[-1])
    assert leases == sorted(set(leases))


async def test_a_lease_is_renewed_until_it_is_lost(store: Store) -> None:
    lease = await store.acquire_lease("test", 0.001)
    await asyncio.sleep(0.01)
    await store.renew_lease(lease, 0.001)
    await store.release_lease(lease)
    await store.release_lease(lease)
    with pytest.raises(LeaseLost):
        await store.renew_lease(lease, 60)
    with pytest.raises(LeaseLost):
        await store.claim(lease, 1)


async def test_a_released_lease_frees_its_executions_at_once(store: Store, lease: int) -> None:
    running, ended = await store.reserve_ids(2)
    await store.commit(lease, 1, [begins(running), begins(ended)])
    await store.commit(lease, 2, [ends(ended, 2)])
    await store.release_lease(lease)
    heir = await store.acquire_lease("heir", 60)
    assert [row.id for row in (await store.claim(heir, 10)).executions] == [running]
    assert await store.owned(heir) == [running]
    assert await store.owned(lease) == []


async def test_the_sweep_frees_what_a_lost_or_missing_lease_owns(store: Store, store_url: str, lease: int) -> None:
    ids = await store.reserve_ids(4)
    await store.commit(lease, 1, [begins(number) for number in ids])
    await store.commit(lease, 2, [ends(ids[3], 2)])
    sql(store_url, "INSERT INTO lease SELECT :id, holder, expires_at, true, created_at FROM lease", id=500)
    sql(store_url, "UPDATE execution SET owner = 500 WHERE id = :id", id=ids[0])
    sql(store_url, "UPDATE execution SET owner = 501 WHERE id = :id", id=ids[1])
    assert await store.sweep(0.0) == 2
    assert await store.sweep(0.0) == 0
    rows = await store.get_executions(list(ids))
    assert [rows[number].owner for number in ids] == [None, None, lease, None]
    assert {row.id for row in (await store.claim(lease, 10)).executions} == set(ids[:2])


async def test_claims_take_what_is_due_the_earliest_first(store: Store, lease: int) -> None:
    late, early, future, never = await store.reserve_ids(4)
    begun = await store.commit(lease, 1, [begins(number) for number in (late, early, future, never)])
    dues = {late: begun.at - 1, early: begun.at - 2, future: begun.at + 3600, never: None}
    await store.commit(lease, 2, [parks(number, 2, wake_at=due) for number, due in dues.items()])
    first = await store.claim(lease, 1)
    assert [row.id for row in first.executions] == [early]
    assert (first.executions[0].owner, first.executions[0].wake_at) == (lease, None)
    assert first.now >= begun.at
    assert [row.id for row in (await store.claim(lease, 10)).executions] == [late]
    assert (await store.claim(lease, 10)).executions == ()
    wake = await store.next_wake()
    assert wake is not None
    assert 3000 < wake <= 3600


async def test_claims_are_exclusive(store: Store, lease: int) -> None:
    ids = await store.reserve_ids(60)
    await store.commit(lease, 1, [waits(number) for number in ids])
    claims = await asyncio.gather(*(store.claim(lease, 7) for _ in range(12)))
    claimed = [row.id for claim in claims for row in claim.executions]
    assert sorted(claimed) == list(ids)


async def test_formats_of_a_later_release_are_left_alone(store: Store, store_url: str, lease: int) -> None:
    ours, newer = await store.reserve_ids(2)
    await store.commit(lease, 1, [waits(ours), waits(newer)])
    sql(store_url, "UPDATE execution SET v = :v WHERE id = :id", v=FORMAT + 1, id=newer)
    assert [row.id for row in (await store.claim(lease, 10)).executions] == [ours]


async def test_next_wake_sees_only_what_nobody_owns(store: Store, lease: int) -> None:
    assert await store.next_wake() is None
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    await store.put_signals([Signal(number, "event")])
    assert await store.next_wake() is None
    await store.commit(lease, 2, [parks(number, 2)])
    wake = await store.next_wake()
    assert wake is not None
    assert wake <= 0


async def test_ids_are_never_handed_out_twice(store: Store) -> None:
    blocks = await asyncio.gather(*(store.reserve_ids(n) for n in range(1, 21)))
    ids = [number for block in blocks for number in block]
    assert len(ids) == len(set(ids)) == 210
    assert min(ids) > 0


# --- signals ---


async def test_signals_wait_in_the_inbox_of_their_execution(store: Store, lease: int) -> None:
    first, second, parked = await store.reserve_ids(3)
    await store.commit(lease, 1, [begins(first), begins(second), begins(parked)])
    await store.commit(lease, 2, [parks(parked, 2)])
    payload = '{"a": "it\'s \\\\ ü"}'.encode()
    signals = [
        Signal(second, "event", "paid", payload, "d1"),
        Signal(first, "cancel"),
        Signal(parked, "event", "hello"),
        Signal(second, "event", "paid"),
    ]
    stored = await store.put_signals(signals)
    mine = await store.inbox(lease)
    assert [(s.execution_id, s.kind, s.name, s.payload, s.dedupe_key) for s in mine] == [
        (second, "event", "paid", payload, "d1"),
        (first, "cancel", "", b"null", None),
        (second, "event", "paid", b"null", None),
    ]
    assert [s.id for s in mine] == [stored[0], stored[1], stored[3]] == sorted({s.id for s in mine})
    assert [s.name for s in await store.inbox(lease, [parked, first])] == ["", "hello"]
    assert await store.inbox(lease, []) == []


async def test_a_dedupe_key_is_stored_once(store: Store, lease: int) -> None:
    first, second = await store.reserve_ids(2)
    await store.commit(lease, 1, [begins(first), begins(second)])
    same = Signal(first, "event", "x", dedupe_key="k")
    one, again, other = await store.put_signals([same, same, Signal(second, "event", "x", dedupe_key="k")])
    assert again is None
    assert [(s.execution_id, s.id) for s in await store.inbox(lease)] == [(first, one), (second, other)]
    assert await store.put_signals([same]) == [None]
    assert await store.put_signals([]) == []


async def test_a_known_signal_wakes_nobody(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    await store.put_signals([Signal(number, "event", "x", dedupe_key="k")])
    (signal,) = await store.inbox(lease, [number])
    await store.commit(lease, 2, [parks(number, 2)])
    await store.claim(lease, 1)
    await store.commit(lease, 3, [says(number, 3)])
    assert await store.put_signals([Signal(number, "event", "x", dedupe_key="k")]) == [None]
    assert (await store.get_executions([number]))[number].wake_at is None
    assert signal.id > 0


async def test_ended_and_unknown_executions_take_no_signals(store: Store, lease: int) -> None:
    ended, alive = await store.reserve_ids(2)
    await store.commit(lease, 1, [begins(ended), begins(alive)])
    await store.commit(lease, 2, [ends(ended, 2)])
    signals = [Signal(ended, "cancel"), Signal(999_999, "cancel"), Signal(alive, "cancel")]
    *refused, stored = await store.put_signals(signals)
    assert refused == [None, None]
    assert [s.id for s in await store.inbox(lease)] == [stored]
    assert await store.inbox(lease, [ended, 999_999]) == []
    assert (await store.get_executions([ended]))[ended].wake_at is None


async def test_a_signal_before_the_park_makes_it_due_at_once(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    await store.put_signals([Signal(number, "event", "x")])
    at = (await store.commit(lease, 2, [parks(number, 2, wake_in=3600.0)])).at
    assert (await store.get_executions([number]))[number].wake_at == at


async def test_a_signal_after_the_park_makes_it_due_at_once(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    await store.commit(lease, 2, [parks(number, 2, wake_in=3600.0)])
    await store.put_signals([Signal(number, "event", "x")])
    wake = await store.next_wake()
    assert wake is not None
    assert wake <= 0
    assert [row.id for row in (await store.claim(lease, 1)).executions] == [number]


async def test_consumed_signals_vanish_and_do_not_wake(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    await store.put_signals([Signal(number, "event", "x"), Signal(number, "event", "y")])
    first, second = await store.inbox(lease, [number])
    await store.commit(lease, 2, [says(number, 2, consumed=(first.id,))])
    assert await store.inbox(lease, [number]) == [second]
    park = parks(number, 3)
    await store.commit(
        lease, 3, [says(number, 3, status=ExecutionStatus.WAITING, park=park.park, consumed=(second.id,))]
    )
    assert (await store.get_executions([number]))[number].wake_at is None
    await store.put_signals([Signal(number, "event", "z")])
    (third,) = await store.inbox(lease, [number])
    assert third.id > second.id


async def test_parks_and_signals_at_the_same_moment_lose_no_wake_up(store: Store, lease: int) -> None:
    ids = await store.reserve_ids(30)
    await store.commit(lease, 1, [begins(number) for number in ids])

    async def park(number: int) -> None:
        await store.commit(lease, 100 + number, [parks(number, 2)])

    signals = [store.put_signals([Signal(number, "event", "x")]) for number in ids]
    await asyncio.gather(
        *(work for number, signal in zip(ids, signals, strict=True) for work in (signal, park(number)))
    )
    assert {row.id for row in (await store.claim(lease, 100)).executions} == set(ids)


async def test_nothing_is_claimed_between_the_park_and_its_time(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    due = (await store.commit(lease, 2, [parks(number, 2, wake_in=0.15)])).at + 0.15
    deadline = time.monotonic() + 10
    while not (claims := await store.claim(lease, 1)).executions:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert claims.now >= due - 1e-5
    assert await seqs(store, number) == [1, 2]
