"""PostgreSQL with what goes wrong between us and it: lost answers, cut connections, other processes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.servers import free_port
from engine.errors import ConfigurationError, LeaseLost, StoreUnavailable
from engine.ports import Append, Signal, Store
from storage import postgresql_journal as journal
from storage.postgresql_bell import TOPICS
from storage.postgresql_session import Broken, Session
from tests.stores import SPACE, begins, cut_connections, ends, locked, opened, parks, says, sql, until, waits


async def test_a_database_without_tables_names_the_cure(postgres_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"python cli\.py db upgrade"):
        async with opened(postgres_url):
            pass


async def test_an_older_schema_names_the_cure(migrated_postgres_url: str) -> None:
    sql(migrated_postgres_url, "UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(ConfigurationError, match=r"0000.*python cli\.py db upgrade"):
        async with opened(migrated_postgres_url):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1", "nowhere.invalid", "[::1]:1"])
async def test_no_server_is_said(host: str) -> None:
    with pytest.raises(StoreUnavailable):
        async with opened(f"postgresql://nobody@{host}/nothing"):
            pass


async def test_a_server_is_found_by_its_name(start_postgres: Any) -> None:
    server = start_postgres(port=free_port())
    session = Session(f"postgresql://postgres@localhost:{server.port}/postgres")
    assert await session.run("SELECT 1") == [(1,)]
    session.close()


# --- several processes ---


@pytest.fixture
async def stores(migrated_postgres_url: str) -> AsyncIterator[tuple[Store, Store]]:
    async with opened(migrated_postgres_url) as one, opened(migrated_postgres_url) as two:
        yield one, two


async def test_an_expired_lease_is_taken_by_another_process_only(stores: tuple[Store, Store]) -> None:
    one, two = stores
    dead, alive = await one.acquire_lease("dead", 0.01), await two.acquire_lease("alive", 60)
    (number,) = await one.reserve_ids(1)
    await one.commit(dead, 1, [begins(number)])
    await asyncio.sleep(0.02)
    assert await one.sweep(0.01) == 0
    await one.renew_lease(dead, 0.01)
    await asyncio.sleep(0.02)
    assert await two.sweep(3600.0) == 0
    assert await two.sweep(0.01) == 1
    with pytest.raises(LeaseLost):
        await one.commit(dead, 2, [says(number, 2)])
    assert [row.id for row in (await two.claim(alive, 10)).executions] == [number]
    await two.commit(alive, 1, [says(number, 2)])


async def test_a_lease_in_the_middle_of_a_commit_is_alive(
    stores: tuple[Store, Store], migrated_postgres_url: str
) -> None:
    one, two = stores
    lease = await one.acquire_lease("busy", 0.001)
    await asyncio.sleep(0.01)
    async with locked(migrated_postgres_url, f"SELECT millrace_fence({lease})"):
        assert await two.sweep(0.0) == 0
    await one.renew_lease(lease, 60)


async def test_claims_of_two_processes_are_exclusive(stores: tuple[Store, Store]) -> None:
    leases = [await store.acquire_lease("x", 60) for store in stores]
    ids = await stores[0].reserve_ids(200)
    await stores[0].start([waits(number) for number in ids])
    pairs = [(store, lease) for _ in range(15) for store, lease in zip(stores, leases, strict=True)]
    claims = await asyncio.gather(*(store.claim(lease, 10) for store, lease in pairs))
    claimed = [row.id for claim in claims for row in claim.executions]
    assert len(claimed) == len(set(claimed))
    for store, lease in zip(stores, leases, strict=True):
        claimed += [row.id for row in (await store.claim(lease, 200)).executions]
    assert sorted(claimed) == list(ids)


async def test_signals_race_with_parks_and_ends_of_another_process(stores: tuple[Store, Store]) -> None:
    engine, door = stores
    lease = await engine.acquire_lease("x", 60)
    ids = await engine.reserve_ids(120)
    await engine.commit(lease, 1, [begins(number) for number in ids])
    halves = [
        [parks(n, 2) if n % 3 else ends(n, 2) for n in reversed(ids[start : start + 30])] for start in range(0, 120, 30)
    ]
    writes = [engine.commit(lease, 2 + n, half) for n, half in enumerate(halves)]
    sent = [door.put_signals([Signal(n, "event"), Signal(m, "event")]) for n, m in zip(ids[:60], ids[60:], strict=True)]
    answers = await asyncio.gather(*sent, *writes)
    stored = dict(zip(ids[:60], [a[0] for a in answers[:60]], strict=True))  # type: ignore[index]
    stored |= dict(zip(ids[60:], [a[1] for a in answers[:60]], strict=True))  # type: ignore[index]
    parked = {n for n in ids if n % 3}
    assert {row.id for row in (await engine.claim(lease, 1000)).executions} == {n for n in parked if stored[n]}
    assert {s.execution_id for s in await engine.inbox(lease, ids)} == parked == {n for n in parked if stored[n]}


async def test_a_signal_waits_for_an_end_that_is_under_way(
    stores: tuple[Store, Store], migrated_postgres_url: str
) -> None:
    engine, door = stores
    lease = await engine.acquire_lease("x", 60)
    (number,) = await engine.reserve_ids(1)
    await engine.commit(lease, 1, [begins(number)])
    end = f"UPDATE execution SET status = 'completed', owner = NULL, ended_at = now() WHERE id = {number}"
    async with locked(migrated_postgres_url, end):
        sent = asyncio.create_task(door.put_signals([Signal(number, "event")]))
        await asyncio.sleep(0.1)
        assert not sent.done()
    assert await sent == [None]
    assert await engine.inbox(lease, [number]) == []
    assert (await engine.claim(lease, 10)).executions == ()


async def test_a_bell_rings_in_the_other_process_only(stores: tuple[Store, Store]) -> None:
    one = stores[0]
    heard: list[list[tuple[str, tuple[int, ...]]]] = [[], []]
    for store, told in zip(stores, heard, strict=True):
        store.listen(lambda topic, ids, told=told: told.append((topic, ids)))  # type: ignore[misc]
    one.notify("progress", [3, 1])
    one.notify("progress", [2])
    one.notify("claim")
    one.notify("signal", range(1000, 3000))
    await until(lambda: len(heard[1]) >= 3)
    assert sorted(heard[1]) == [("claim", ()), ("progress", (1, 2, 3)), ("signal", ())]
    for number in range(100):
        one.notify("progress", [number])
        await asyncio.sleep(0)
    await until(lambda: any(99 in ids for _, ids in heard[1]))
    assert {n for topic, ids in heard[1][3:] for n in ids} == set(range(100))
    assert len(heard[1]) < 30
    assert heard[0] == []


async def test_a_bell_that_was_cut_rings_for_everything_afterwards(
    stores: tuple[Store, Store], migrated_postgres_url: str
) -> None:
    heard: list[tuple[str, tuple[int, ...]]] = []
    stores[1].listen(lambda topic, ids: heard.append((topic, ids)))
    assert cut_connections(migrated_postgres_url)
    await until(lambda: {topic for topic, ids in heard if ids == ()} == set(TOPICS))

    def heard_again() -> bool:
        stores[0].notify("progress", [7])
        return ("progress", (7,)) in heard

    await until(heard_again)


async def test_readers_at_once_share_queries(stores: tuple[Store, Store], monkeypatch: Any) -> None:
    store = stores[0]
    lease = await store.acquire_lease("x", 60)
    ids = await store.reserve_ids(300)
    await store.commit(lease, 1, [begins(number) for number in ids])
    asked: list[Any] = []
    run = Session.run

    async def counting(self: Session, *parts: Any) -> Any:
        asked.append(parts)
        return await run(self, *parts)

    monkeypatch.setattr(Session, "run", counting)
    await asyncio.gather(*(store.get_executions([number]) for number in ids))
    await asyncio.gather(*(store.read_events({number: 0}) for number in ids))
    await asyncio.gather(*(store.current_revisions(SPACE, [number]) for number in ids))
    assert len(asked) <= 6


async def test_a_session_survives_refused_queries(migrated_postgres_url: str) -> None:
    session = Session(migrated_postgres_url)
    answers = await asyncio.gather(
        session.run("SELECT 1"),
        session.run("SELECT 1/0"),
        session.run(("SELECT %s", ["\0"])),
        session.run("nonsense"),
        session.run("SELECT 1", "SELECT 2, 'ü'"),
        session.run("SET timezone = 'UTC'"),
        return_exceptions=True,
    )
    assert [answers[0], answers[4], answers[5]] == [[(1,)], [(2, "ü")], []]
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, True, True, False, False]
    with pytest.raises(Broken):
        await session.run("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await session.run("SELECT 3") == [(3,)]
    assert await asyncio.gather(*(session.run(f"SELECT {n}") for n in range(2000))) == [[(n,)] for n in range(2000)]
    session.close()


async def test_a_large_query_goes_out_in_pieces(migrated_postgres_url: str) -> None:
    session = Session(migrated_postgres_url)
    text = "x" * 4_000_000
    assert await session.run(("SELECT length(%s), %s", [text, text])) == [(4_000_000, text)]
    session.close()


async def test_the_transaction_number_is_kept(stores: tuple[Store, Store], migrated_postgres_url: str) -> None:
    lease = await stores[0].acquire_lease("x", 60)
    first, second = await stores[0].reserve_ids(2)
    await stores[0].commit(lease, 1, [begins(first)])
    await stores[0].commit(lease, 2, [says(first, 2), Append(second, 1, begins(second).events, begins(second).start)])
    rows = sql(migrated_postgres_url, "SELECT xid::text::bigint FROM event ORDER BY execution_id, seq")
    assert rows[0][0] < rows[1][0] == rows[2][0]


async def test_dead_owners_are_found_from_owner_to_owner(
    stores: tuple[Store, Store], migrated_postgres_url: str
) -> None:
    store = stores[0]
    lease = await store.acquire_lease("x", 60)
    ids = await store.reserve_ids(512)
    await store.commit(lease, 1, [begins(number) for number in ids])
    session = Session(migrated_postgres_url)
    await session.run("ANALYZE execution", "SET enable_seqscan = off")
    statement, values = journal.DEAD_OWNERS, (0.0,)
    plan = "\n".join(row[0] for row in await session.run((f"EXPLAIN {statement}", values)))
    session.close()
    assert "ix_execution_owner" in plan
