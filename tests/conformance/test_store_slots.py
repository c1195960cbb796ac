"""Slots of pools: the line, the bounds, what is given back and who is woken."""

import asyncio
import random
from collections import Counter

import pytest

from engine.errors import LeaseLost
from engine.ports import Append, PoolSlot, SlotGrant, SlotPool, Store
from engine.states import ExecutionStatus, SlotStage
from tests.stores import TOLD, begins, ends, opened, parks, says, sql, waits


def ask(
    number: int, task: str = "a", *, key: str | None = None, limit: int = 1, most: int | None = None, flow: int = 1
) -> PoolSlot:
    """`limit` is the key's, `most` the workflow's."""
    return PoolSlot(number, task, flow, key, limit, most, SlotStage.KEY)


async def begun(store: Store, lease: int, count: int) -> list[int]:
    ids = list(await store.reserve_ids(count))
    await store.commit(lease, 1, [begins(number) for number in ids])
    return ids


def places(grants: list[SlotGrant]) -> list[tuple[int, str]]:
    return [(grant.execution_id, grant.task) for grant in grants]


async def stages(store: Store, ids: list[int]) -> list[int]:
    return [int(slot.stage) for slot in await store.get_slots(ids)]


async def test_no_more_than_the_bound_and_the_longest_wait_first(store: Store, lease: int) -> None:
    ids = await begun(store, lease, 5)
    asks = [ask(number, most=2) for number in ids]
    assert places(await store.share_slots(lease, asks[:3], ())) == [(ids[0], "a"), (ids[1], "a")]
    assert await store.share_slots(lease, asks[3:], ()) == []
    await store.commit(lease, 2, [says(ids[1], 2, freed=("a",))])
    assert places(await store.share_slots(lease, (), [SlotPool(1, None)])) == [(ids[2], "a")]
    await store.commit(lease, 3, [says(ids[0], 2, freed=("a",)), says(ids[2], 2, freed=("a",))])
    assert places(await store.share_slots(lease, (), [SlotPool(1, None)])) == [(ids[3], "a"), (ids[4], "a")]


async def test_keys_have_pools_of_their_own(store: Store, lease: int) -> None:
    ids = await begun(store, lease, 5)
    keys = ["x", "x", "y", "ü'\"\\ {", "x"]
    asks = [ask(number, key=key) for number, key in zip(ids, keys, strict=True)]
    assert places(await store.share_slots(lease, asks, ())) == [(ids[0], "a"), (ids[2], "a"), (ids[3], "a")]
    other = ask(ids[1], "b", key="x", flow=2)
    assert places(await store.share_slots(lease, [other], ())) == [(ids[1], "b")]
    await store.commit(lease, 2, [says(ids[0], 2, freed=("a",))])
    assert places(await store.share_slots(lease, (), [SlotPool(1, "x")])) == [(ids[1], "a")]


async def test_a_key_and_its_workflow_together(store: Store, lease: int) -> None:
    """Who waits for its key keeps nobody else from the workflow's slots, and is not overtaken inside its key."""
    ids = await begun(store, lease, 6)
    keys = ["x", "x", "x", "y", "z", "x"]
    asks = [ask(number, key=key, most=2) for number, key in zip(ids, keys, strict=True)]
    assert places(await store.share_slots(lease, asks, ())) == [(ids[0], "a"), (ids[3], "a")]
    assert await stages(store, ids) == [2, 0, 0, 2, 1, 0]
    await store.commit(lease, 2, [says(ids[0], 2, freed=("a",))])
    assert places(await store.share_slots(lease, (), [SlotPool(1, "x")])) == [(ids[1], "a")]
    await store.commit(lease, 3, [says(ids[3], 2, freed=("a",))])
    assert places(await store.share_slots(lease, (), [SlotPool(1, "y")])) == [(ids[4], "a")]


async def test_asking_twice_is_harmless(store: Store, lease: int) -> None:
    first, second = await begun(store, lease, 2)
    asks = [ask(first, most=1), ask(second, most=1)]
    for _ in range(3):
        assert await store.share_slots(lease, asks, ()) == [SlotGrant(first, "a", lease)]
    assert len(await store.get_slots([first, second])) == 2
    assert await store.share_slots(lease, (), ()) == []
    assert await store.get_slots([]) == []


async def test_what_runs_already_holds_whether_there_is_room_or_not(store: Store, lease: int) -> None:
    first, second = await begun(store, lease, 2)
    await store.share_slots(lease, [ask(first, key="k", most=1)], ())
    runs = PoolSlot(second, "a", 1, "k", 1, 1, SlotStage.HELD)
    assert places(await store.share_slots(lease, [runs], ())) == [(second, "a")]
    assert await stages(store, [first, second]) == [2, 2]


async def test_only_the_owner_of_an_execution_asks_for_it(store: Store, lease: int) -> None:
    mine, parked, ended, theirs = await begun(store, lease, 4)
    await store.commit(lease, 2, [parks(parked, 2), ends(ended, 2)])
    other = mine if not store.shared else theirs
    asks = [ask(parked), ask(ended), ask(999_999), ask(other)]
    assert places(await store.share_slots(lease, asks, ())) == [(other, "a")]
    await store.release_lease(lease)
    with pytest.raises(LeaseLost):
        await store.share_slots(lease, [ask(mine)], ())
    with pytest.raises(LeaseLost):
        await store.share_slots(lease, (), [SlotPool(1, None)])
    assert await stages(store, [mine, parked, ended, theirs]) == [2]


async def test_a_stale_commit_gives_nothing_back(store: Store, lease: int) -> None:
    (number,) = await begun(store, lease, 1)
    await store.share_slots(lease, [ask(number, most=1)], ())
    await store.release_lease(lease)
    with pytest.raises(LeaseLost):
        await store.commit(lease, 2, [says(number, 2, freed=("a",))])
    assert await stages(store, [number]) == [2]


async def test_a_granted_slot_makes_a_parked_execution_due(store: Store, lease: int) -> None:
    first, second, third = await begun(store, lease, 3)
    await store.share_slots(lease, [ask(number, most=1) for number in (first, second, third)], ())
    await store.commit(lease, 2, [parks(second, 2, for_slots=True), parks(third, 2, for_slots=True)])
    assert (await store.claim(lease, 10)).executions == ()
    await store.commit(lease, 3, [Append(first, 2, (TOLD,), status=ExecutionStatus.COMPLETED, freed=("a",))])
    assert await store.share_slots(lease, (), [SlotPool(1, None)]) == [SlotGrant(second, "a", None)]
    assert [row.id for row in (await store.claim(lease, 10)).executions] == [second]
    assert [(slot.task, slot.stage) for slot in await store.get_slots([second])] == [("a", SlotStage.HELD)]


async def test_a_slot_granted_before_the_park_makes_it_due_at_once(store: Store, lease: int) -> None:
    first, second, third = await begun(store, lease, 3)
    await store.share_slots(lease, [ask(number, most=2) for number in (first, second, third)], ())
    await store.commit(lease, 2, [parks(number, 2, for_slots=True) for number in (second, third)])
    assert [row.id for row in (await store.claim(lease, 10)).executions] == [second]


async def test_what_was_freed_unseen_is_handed_out_by_the_mending(store: Store, lease: int) -> None:
    ids = await begun(store, lease, 5)
    asks = [ask(number, key=key) for number, key in zip(ids[:3], "xxx", strict=True)]
    await store.share_slots(lease, [*asks, ask(ids[3], flow=7, most=1), ask(ids[4], flow=7, most=1)], ())
    assert await store.mend_slots(lease, 60) == []
    await store.commit(lease, 2, [says(ids[0], 2, freed=("a",)), says(ids[3], 2, freed=("a",))])
    assert sorted(places(await store.mend_slots(lease, 60))) == [(ids[1], "a"), (ids[4], "a")]
    assert await store.mend_slots(lease, 60) == []


async def test_the_mending_takes_slots_back_from_the_ended_and_the_unclaimed(
    store: Store, store_url: str, lease: int
) -> None:
    ids = await begun(store, lease, 6)
    asks = [ask(number, flow=number, most=1) for number in ids[:4]]
    await store.share_slots(lease, asks, ())
    await store.share_slots(lease, [ask(ids[4], flow=number, most=1, task=f"t{number}") for number in ids[:4]], ())
    ended, gone, orphan = ids[:3]
    await store.commit(lease, 2, [ends(ended, 2)])
    sql(store_url, "DELETE FROM execution WHERE id = :id", id=gone)
    nine_seconds = "9000000" if store_url.startswith("sqlite") else "interval '9 seconds'"
    due = f"(SELECT min(asked_at) FROM slot) - {nine_seconds}"
    sql(store_url, f"UPDATE execution SET owner = NULL, wake_at = {due} WHERE id = :id", id=orphan)
    assert {grant.task for grant in await store.mend_slots(lease, 60.0)} == {f"t{ended}", f"t{gone}"}
    assert {grant.task for grant in await store.mend_slots(lease, 5.0)} == {f"t{orphan}"}
    assert [row.id for row in (await store.claim(lease, 10)).executions] == [orphan]


async def test_an_ended_execution_in_line_is_never_due(store: Store, lease: int) -> None:
    first, second, third = await begun(store, lease, 3)
    await store.share_slots(lease, [ask(number, most=1) for number in (first, second, third)], ())
    await store.commit(lease, 2, [ends(second, 2), says(first, 2, freed=("a",))])
    await store.share_slots(lease, (), [SlotPool(1, None)])
    assert (await store.claim(lease, 10)).executions == ()
    assert places(await store.mend_slots(lease, 60)) == [(third, "a")]


async def test_the_first_in_line_decides_where_versions_differ(store: Store, lease: int) -> None:
    ids = await begun(store, lease, 6)
    await store.share_slots(lease, [ask(number, most=3) for number in ids[:3]], ())
    assert await store.share_slots(lease, [ask(ids[3], most=2), ask(ids[4], most=9), ask(ids[5])], ()) == []
    await store.commit(lease, 2, [says(ids[0], 2, freed=("a",))])
    assert await store.share_slots(lease, (), [SlotPool(1, None)]) == []
    await store.commit(lease, 3, [says(ids[1], 2, freed=("a",))])
    assert places(await store.share_slots(lease, (), [SlotPool(1, None)])) == [(ids[3], "a")]
    assert places(await store.share_slots(lease, (), [SlotPool(1, None)])) == [(ids[4], "a"), (ids[5], "a")]


async def test_a_waiting_execution_that_starts_elsewhere_is_in_nobodys_line(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [waits(number)])
    assert await store.share_slots(lease, [ask(number)], ()) == []
    assert await store.get_slots([number]) == []


@pytest.mark.parametrize("seed", range(3))
async def test_no_pool_is_ever_overdrawn_whatever_the_order(store: Store, lease: int, seed: int) -> None:
    """Asks, ends and grants at random, some beside each other; at the end everybody was served, in line."""
    dice = random.Random(seed)
    ids = await begun(store, lease, 40)
    keys = {number: dice.choice([None, "x", "y"]) for number in ids}
    left, held, served = list(ids), set[int](), list[int]()
    batch = 1
    while len(served) < len(ids) or held:
        asks = [ask(left.pop(0), key=None, most=4, limit=2) for _ in range(min(len(left), dice.randrange(4)))]
        asks = [PoolSlot(a.execution_id, "a", 1, keys[a.execution_id], 2, 4, SlotStage.KEY) for a in asks]
        ending = dice.sample(sorted(held), dice.randrange(len(held) + 1))
        held -= set(ending)
        batch += 1
        pools = [SlotPool(1, keys[number]) for number in ending]
        if ending:
            await store.commit(lease, batch, [says(number, 2, freed=("a",)) for number in ending])
        grants = [
            g
            for part in await asyncio.gather(store.share_slots(lease, asks, ()), store.share_slots(lease, (), pools))
            for g in part
        ]
        held |= {grant.execution_id for grant in grants}
        served += [grant.execution_id for grant in grants]
        assert len(held) <= 4
        assert all(count <= 2 for key, count in Counter(keys[number] for number in held).items() if key is not None)
    assert len(served) == len(set(served)) == 40
    for key in ("x", "y"):
        line = [number for number in served if keys[number] == key]
        assert line == sorted(line)


async def test_two_engines_share_one_bound(migrated_postgres_url: str) -> None:
    """On one PostgreSQL: both ask and give back as fast as they can; the rows never say more than the bound."""
    async with opened(migrated_postgres_url) as one, opened(migrated_postgres_url) as two:
        most = 0

        async def work(store: Store) -> None:
            nonlocal most
            lease = await store.acquire_lease("test", 60)
            ids = await begun(store, lease, 30)
            done = 0
            await store.share_slots(lease, [ask(number, key="k", limit=3, most=4) for number in ids], ())
            while done < len(ids):
                held = {slot.execution_id for slot in await store.get_slots(ids) if slot.stage is SlotStage.HELD}
                rows = await asyncio.to_thread(sql, migrated_postgres_url, "SELECT count(*) FROM slot WHERE stage = 2")
                most = max(most, rows[0][0])
                if held:
                    done += len(held)
                    await store.commit(lease, done + 1, [says(number, 2, freed=("a",)) for number in held])
                    await store.share_slots(lease, (), [SlotPool(1, "k")])

        await asyncio.wait_for(asyncio.gather(work(one), work(two)), 60)
        assert most == 3
        assert sql(migrated_postgres_url, "SELECT count(*) FROM slot") == [(0,)]
