"""What becomes of a commit whose answer is lost, and of connections that are cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import uvloop

from engine.errors import BatchRefused, LeaseLost, StoreUnavailable
from engine.ports import Append, Duplicate, ExecutionFilter, Park, Signal, Store
from storage.postgresql_session import Broken, Rows, Session
from tests.conftest import StartPostgres
from tests.proxy import Proxy
from tests.stores import SPACE, begins, cut_connections, locked, opened, parks, says, seqs, sql, until, waits, workflow


@pytest.fixture
def proxy(migrated_postgres_url: str) -> Proxy:
    """Between the `store` and its database."""
    return Proxy(migrated_postgres_url)


@pytest.fixture
async def store(proxy: Proxy) -> AsyncIterator[Store]:
    async with proxy.running() as url, opened(url) as store:
        yield store


@pytest.fixture
async def lease(store: Store) -> int:
    return await store.acquire_lease("test", 60)


# --- the lost answer ---


@pytest.mark.parametrize("before", [False, True], ids=["committed", "never arrived"])
async def test_a_lost_answer_to_a_commit(store: Store, proxy: Proxy, lease: int, before: bool) -> None:
    known, twin, fresh = await store.reserve_ids(3)
    await store.commit(lease, 1, [begins(known, idempotency_key="k", request_digest=b"q")])
    proxy.lose("EXECUTE ", before=before)
    appends = [says(known, 2), begins(twin, idempotency_key="k"), begins(fresh)]
    committed = await store.commit(lease, 2, appends)
    assert proxy.lost == 1
    assert committed.duplicates == {twin: Duplicate(known, b"q")}
    assert await seqs(store, known) == [1, 2]
    assert await seqs(store, fresh) == [1]
    assert (await store.read_events({known: 1}))[known][0].at == committed.at
    await store.commit(lease, 3, [says(known, 3), says(fresh, 2)])


@pytest.mark.parametrize("before", [False, True], ids=["committed", "never arrived"])
async def test_a_lost_answer_to_a_start(store: Store, proxy: Proxy, before: bool) -> None:
    first, second = await store.reserve_ids(2)
    proxy.lose("EXECUTE ", before=before)
    committed = await store.start([waits(first, idempotency_key="k", request_digest=b"q"), waits(second)])
    assert proxy.lost == 1
    assert committed.duplicates == {}
    assert [await seqs(store, n) for n in (first, second)] == [[1], [1]]
    (third,) = await store.reserve_ids(1)
    proxy.lose("EXECUTE ", before=before)
    again = await store.start([waits(third, idempotency_key="k")])
    assert again.duplicates == {third: Duplicate(first, b"q")}


@pytest.mark.parametrize("before", [False, True], ids=["committed", "never arrived"])
async def test_a_lost_answer_makes_no_second_child_and_tells_once(
    store: Store, proxy: Proxy, lease: int, before: bool
) -> None:
    parent, ending, child = await store.reserve_ids(3)
    await store.commit(lease, 1, [begins(parent), begins(ending)])
    starts = says(parent, 2, children=(waits(child, parent_id=parent),))
    tells = says(ending, 2, signals=(Signal(parent, "child", "child", b"1", f"child:{ending}"),))
    proxy.lose("EXECUTE ", before=before)
    await store.commit(lease, 2, [starts, tells])
    assert proxy.lost == 1
    assert await seqs(store, child) == [1]
    assert [row.id for row in await store.list_executions(ExecutionFilter(SPACE, parent_id=parent), None, 9)] == [child]
    assert [signal.payload for signal in await store.inbox(lease, [parent])] == [b"1"]


async def test_every_answer_lost_in_turn(store: Store, proxy: Proxy, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    for seq in range(2, 22):
        proxy.lose("EXECUTE ", before=seq % 3 == 0)
        await store.commit(lease, seq, [says(number, seq)])
    assert proxy.lost == 20
    assert await seqs(store, number) == list(range(1, 22))


async def test_a_lost_answer_after_the_lease_was_lost(
    store: Store, proxy: Proxy, lease: int, migrated_postgres_url: str
) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    sql(migrated_postgres_url, "UPDATE lease SET lost = true")
    proxy.lose("EXECUTE ", before=True)
    with pytest.raises(LeaseLost):
        await store.commit(lease, 2, [says(number, 2)])
    assert await seqs(store, number) == [1]


async def test_a_commit_that_took_place_counts_even_if_the_lease_is_lost_now(
    store: Store, proxy: Proxy, lease: int, migrated_postgres_url: str
) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    holder = Session(migrated_postgres_url)
    await holder.run(f"UPDATE lease SET expires_at = now() WHERE id = {lease}")
    proxy.lose("EXECUTE ")
    committed = await store.commit(lease, 2, [says(number, 2)])
    await holder.run(f"UPDATE lease SET lost = true WHERE id = {lease}")
    holder.close()
    assert (await store.read_events({number: 1}))[number][0].at == committed.at


async def test_another_batch_at_our_place_is_not_ours(store: Store, proxy: Proxy, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    proxy.lose("EXECUTE ", before=True)
    with pytest.raises(BatchRefused):
        await store.commit(lease, 2, [begins(number)])
    assert await seqs(store, number) == [1]


async def test_an_old_transaction_that_is_still_running_is_waited_for(
    store: Store, proxy: Proxy, lease: int, migrated_postgres_url: str
) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    rival = f"INSERT INTO event (execution_id, seq, type, v, at, data) VALUES ({number}, 2, 'x', 1, now(), '')"
    async with locked(migrated_postgres_url, rival, end="ROLLBACK"):
        proxy.lose("EXECUTE ")
        commit = asyncio.create_task(store.commit(lease, 2, [says(number, 2)]))
        await until(lambda: proxy.lost == 1)
        await asyncio.sleep(0.05)
        proxy.cut()
        await asyncio.sleep(0.2)
        assert not commit.done()
    committed = await commit
    assert (await store.read_events({number: 1}))[number][0].at == committed.at
    assert await seqs(store, number) == [1, 2]


# --- the same batch again, after the first call gave up ---


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost answer is `StoreUnavailable` at once."""
    monkeypatch.setattr("storage.postgresql_appends.PAUSES", ())


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("before", [False, True], ids=["committed", "never arrived"])
@pytest.mark.parametrize("events", [True, False], ids=["with events", "without"])
async def test_a_batch_whose_first_try_gave_up(
    store: Store, proxy: Proxy, lease: int, before: bool, events: bool
) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    batch = [parks(number, 2, wake_in=60)] if events else [Append(number, 2, (), park=Park(wake_in=60))]
    proxy.lose("EXECUTE ", before=before)
    with pytest.raises(StoreUnavailable):
        await store.commit(lease, 2, batch)
    await store.commit(lease, 2, batch)
    assert await seqs(store, number) == ([1, 2] if events else [1])
    assert (await store.get_executions([number]))[number].owner is None
    with pytest.raises(BatchRefused):
        await store.commit(lease, 3, [begins(number)])


@pytest.mark.usefixtures("impatient")
async def test_a_batch_whose_first_try_gave_up_counts_even_if_the_lease_is_lost_now(
    store: Store, proxy: Proxy, lease: int, migrated_postgres_url: str
) -> None:
    (number,) = await store.reserve_ids(1)
    proxy.lose("EXECUTE ")
    with pytest.raises(StoreUnavailable):
        await store.commit(lease, 1, [begins(number)])
    sql(migrated_postgres_url, "UPDATE lease SET lost = true")
    committed = await store.commit(lease, 1, [begins(number)])
    assert (await store.read_events({number: 0}))[number][0].at == committed.at
    with pytest.raises(LeaseLost):
        await store.commit(lease, 2, [says(number, 2)])


# --- cut connections ---


@pytest.mark.parametrize("before", [False, True])
async def test_a_connection_that_breaks_while_it_is_greeted(store: Store, proxy: Proxy, before: bool) -> None:
    proxy.lose("PREPARE ", before=before)
    with pytest.raises(StoreUnavailable):
        await store.acquire_lease("test", 60)
    assert proxy.lost == 1
    assert await store.acquire_lease("test", 60)


async def test_a_store_that_cannot_be_opened_says_so(proxy: Proxy) -> None:
    async with proxy.running() as url:
        proxy.lose("LISTEN ")
        with pytest.raises(StoreUnavailable):
            async with opened(url):
                pass
        assert proxy.lost == 1


@pytest.mark.parametrize("marker", ["hstore", "pg_catalog.version()", "BEGIN", "COMMIT"])
async def test_a_pooled_connection_that_breaks_anywhere(store: Store, proxy: Proxy, marker: str) -> None:
    proxy.lose(marker)
    with suppress(StoreUnavailable):
        await store.list_workflows(SPACE, 0, 1)
    assert proxy.lost == 1
    assert await store.list_workflows(SPACE, 0, 1) == ([], 0)


async def test_terminated_connections_come_back(store: Store, lease: int, migrated_postgres_url: str) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    made = await store.create_workflow(workflow(key="k"))
    for seq in range(2, 6):
        assert cut_connections(migrated_postgres_url)
        await store.commit(lease, seq, [says(number, seq)])
        assert await _insist(store.get_executions, [number])
        assert await store.get_workflow(SPACE, "k") == made
    assert await seqs(store, number) == [1, 2, 3, 4, 5]


async def _insist(call: Any, *arguments: Any) -> Any:
    """A read whose connection was cut may say so; the next one works."""
    for _ in range(5):
        try:
            return await call(*arguments)
        except StoreUnavailable:
            await asyncio.sleep(0.01)
    return await call(*arguments)


async def test_a_server_that_is_gone_is_said(store: Store, proxy: Proxy, lease: int, monkeypatch: Any) -> None:
    monkeypatch.setattr("storage.postgresql_appends.PAUSES", (0.0, 0.01))
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    proxy.refusing = True
    proxy.cut()
    await asyncio.sleep(0.05)
    calls = [
        store.ping(),
        store.commit(lease, 2, [says(number, 2)]),
        store.claim(lease, 1),
        store.get_executions([number]),
        store.create_workflow(workflow()),
        store.put_signals([Signal(number, "cancel")]),
        store.renew_lease(lease, 60),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            await call
    proxy.refusing = False
    await store.commit(lease, 2, [says(number, 2)])
    await store.ping()


SESSIONS = 12


def test_every_session_answers_again_after_restarts_on_the_loop_that_serves(start_postgres: StartPostgres) -> None:
    """On uvloop, whose library tells an error of a socket once: a session that missed it would wait for ever."""
    server = start_postgres()

    async def ask(session: Session) -> Rows:
        while True:
            with suppress(Broken, StoreUnavailable):
                return await session.run("SELECT 1")
            await asyncio.sleep(0.02)

    async def main() -> None:
        sessions = [Session(server.url()) for _ in range(SESSIONS)]
        for _ in range(3):
            asking = [asyncio.create_task(ask(session)) for session in sessions * 2]
            await asyncio.to_thread(server.stop, "crash")
            asking += [asyncio.create_task(ask(session)) for session in sessions]
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(30):
                assert await asyncio.gather(*asking) == [[(1,)]] * len(asking)
        for session in sessions:
            session.close()

    uvloop.run(main())
