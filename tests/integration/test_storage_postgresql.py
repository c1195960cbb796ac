"""PostgreSQL with what goes wrong between us and it: lost answers, cut connections, other processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from deploy.servers import free_port
from engine.errors import BatchRefused, ConfigurationError, LeaseLost, StoreUnavailable
from engine.ports import Append, Duplicate, Signal, Store
from storage import postgresql_journal as journal
from storage.postgresql_session import Broken, Session
from tests.stores import SPACE, begins, ends, opened, parks, says, seqs, sql, waits, workflow


class Proxy:
    """Stands between a store and the server. `lose(marker)` cuts the connection instead of passing on the answer to
    the next query that contains `marker`, which the server has carried out by then (`before`: never gets)."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432"
        self._name = parts.path
        self._marker: bytes | None = None
        self._before = False
        self.lost = 0
        self.refusing = False
        self._writers: set[asyncio.StreamWriter] = set()

    def lose(self, marker: str, *, before: bool = False) -> None:
        self._marker, self._before = marker.encode(), before

    def cut(self) -> None:
        for writer in self._writers:
            writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        yield f"postgresql://postgres@127.0.0.1:{port}{self._name}?sslmode=disable&gssencmode=disable"
        server.close()
        self.cut()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_unix_connection(self._socket)
        self._writers |= {writer, up_writer}
        dropping = asyncio.Event()

        async def up() -> None:
            while data := await reader.read(1 << 20):
                if self._marker is not None and self._marker in data:
                    self._marker = None
                    self.lost += 1
                    dropping.set()
                    if self._before:
                        break
                up_writer.write(data)

        async def down() -> None:
            while data := await up_reader.read(1 << 20):
                if dropping.is_set():
                    break
                writer.write(data)

        jobs = [asyncio.create_task(up()), asyncio.create_task(down())]
        await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        for end in (writer, up_writer):
            end.close()
            self._writers.discard(end)


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
    store: Store, proxy: Proxy, lease: int, postgres_locks: Any
) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    rival = f"INSERT INTO event (execution_id, seq, type, v, at, data) VALUES ({number}, 2, 'x', 1, now(), '')"
    async with postgres_locks(rival, end="ROLLBACK"):
        proxy.lose("EXECUTE ")
        commit = asyncio.create_task(store.commit(lease, 2, [says(number, 2)]))
        await _until(lambda: proxy.lost == 1)
        await asyncio.sleep(0.05)
        proxy.cut()
        await asyncio.sleep(0.2)
        assert not commit.done()
    committed = await commit
    assert (await store.read_events({number: 1}))[number][0].at == committed.at
    assert await seqs(store, number) == [1, 2]


# --- cut connections ---


async def test_terminated_connections_come_back(store: Store, lease: int, migrated_postgres_url: str) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    made = await store.create_workflow(workflow(key="k"))
    for seq in range(2, 6):
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'millrace'"
        assert sql(migrated_postgres_url, kill)
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


async def test_a_lease_in_the_middle_of_a_commit_is_alive(stores: tuple[Store, Store], postgres_locks: Any) -> None:
    one, two = stores
    lease = await one.acquire_lease("busy", 0.001)
    await asyncio.sleep(0.01)
    async with postgres_locks(f"SELECT millrace_fence({lease})"):
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


async def test_a_signal_waits_for_an_end_that_is_under_way(stores: tuple[Store, Store], postgres_locks: Any) -> None:
    engine, door = stores
    lease = await engine.acquire_lease("x", 60)
    (number,) = await engine.reserve_ids(1)
    await engine.commit(lease, 1, [begins(number)])
    end = f"UPDATE execution SET status = 'completed', owner = NULL, ended_at = now() WHERE id = {number}"
    async with postgres_locks(end):
        sent = asyncio.create_task(door.put_signals([Signal(number, "event")]))
        await asyncio.sleep(0.1)
        assert not sent.done()
    assert await sent == [False]
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
    await _until(lambda: len(heard[1]) >= 3)
    assert sorted(heard[1]) == [("claim", ()), ("progress", (1, 2, 3)), ("signal", ())]
    for number in range(100):
        one.notify("progress", [number])
        await asyncio.sleep(0)
    await _until(lambda: any(99 in ids for _, ids in heard[1]))
    assert {n for topic, ids in heard[1][3:] for n in ids} == set(range(100))
    assert len(heard[1]) < 30
    assert heard[0] == []


async def test_a_bell_that_was_cut_rings_for_everything_afterwards(
    stores: tuple[Store, Store], migrated_postgres_url: str
) -> None:
    heard: list[tuple[str, tuple[int, ...]]] = []
    stores[1].listen(lambda topic, ids: heard.append((topic, ids)))
    sql(
        migrated_postgres_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'millrace'",
    )
    await _until(lambda: {topic for topic, ids in heard if ids == ()} == {"claim", "signal", "progress"})

    def heard_again() -> bool:
        stores[0].notify("progress", [7])
        return ("progress", (7,)) in heard

    await _until(heard_again)


async def _until(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


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


@pytest.fixture
def postgres_locks(migrated_postgres_url: str) -> Any:
    """A transaction of somebody else that stays open meanwhile."""

    @asynccontextmanager
    async def held(statement: str, end: str = "COMMIT") -> AsyncIterator[None]:
        session = Session(migrated_postgres_url)
        await session.run("BEGIN")
        await session.run(statement)
        yield
        await session.run(end)
        session.close()

    return held


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
    text = "x" * 20_000_000
    assert await session.run(("SELECT length(%s), %s", [text, text])) == [(20_000_000, text)]
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
