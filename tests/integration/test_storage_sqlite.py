"""SQLite with what goes wrong around one file: other processes, kill -9, clocks that go back."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BatchRefused, ConfigurationError, LeaseLost, StoreUnavailable
from engine.ports import Store
from storage import schema
from storage.sqlite import SQLiteStore
from storage.sqlite_writer import Work
from tests.stores import adds, begins, opened, parks, says, seqs, sql, workflow


async def test_a_second_process_is_refused_with_the_cure(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        with pytest.raises(ConfigurationError, match=rf"process {os.getpid()}; stop it, or set DATABASE_URL"):
            async with opened(sqlite_url):
                pass
        await store.ping()
    async with opened(sqlite_url) as store:
        await store.ping()


async def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        async with opened(f"sqlite:///{tmp_path}/nowhere/x.db"):
            pass


async def test_a_file_that_cannot_be_opened_is_said_and_let_go(sqlite_url: str, monkeypatch: Any) -> None:
    async with opened(sqlite_url):
        pass
    path = sqlite_url.removeprefix("sqlite:///")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA journal_mode=DELETE")
    prepare = schema.prepare

    def prepare_then_lock(url: str) -> None:
        prepare(url)
        other.execute("BEGIN IMMEDIATE")

    monkeypatch.setattr("storage.sqlite_writer.BUSY", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr("storage.schema.prepare", prepare_then_lock)
        with pytest.raises(StoreUnavailable, match="locked"):
            await SQLiteStore(sqlite_url).open()
    other.close()
    async with opened(sqlite_url) as store:
        await store.ping()


async def test_a_new_lease_ends_the_old_ones_at_once(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        old = await store.acquire_lease("old", 3600)
        ids = await store.reserve_ids(3)
        await store.commit(old, 1, [begins(number) for number in ids])
        await store.commit(old, 2, [parks(ids[0], 2, wake_in=3600.0)])
    async with opened(sqlite_url) as store:
        new = await store.acquire_lease("new", 3600)
        assert {row.id for row in (await store.claim(new, 10)).executions} == set(ids[1:])
        with pytest.raises(LeaseLost):
            await store.commit(old, 3, [says(ids[1], 2)])


WRITER = """
    import asyncio, sys
    from tests.stores import begins, opened, says

    async def main():
        async with opened(sys.argv[1]) as store:
            lease = await store.acquire_lease("victim", 3600)
            ids = list(await store.reserve_ids(8))
            await store.commit(lease, 1, [begins(number) for number in ids])
            seq = 2
            while True:
                await store.commit(lease, seq, [says(number, seq) for number in ids])
                print(seq, flush=True)
                seq += 1

    asyncio.run(main())
"""


def test_what_was_answered_survives_kill_9(sqlite_url: str) -> None:
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), sqlite_url], stdout=subprocess.PIPE, text=True
        ) as victim:
            assert victim.stdout is not None
            for _ in range(20):
                said = int(victim.stdout.readline())
            victim.send_signal(signal.SIGKILL)
            said = int(([str(said), *victim.stdout.read().split()])[-1])
        asyncio.run(_check(sqlite_url, said))


async def _check(url: str, said: int) -> None:
    path = url.removeprefix("sqlite:///")
    async with opened(url) as store:
        lease = await store.acquire_lease("heir", 3600)
        rows = (await store.claim(lease, 100)).executions
        assert rows
        for row in rows[-8:]:
            found = await seqs(store, row.id)
            assert found == list(range(1, len(found) + 1))
            assert len(found) in {said, said + 1}
        await store.release_lease(lease)
        lease = await store.acquire_lease("closer", 3600)
        claimed = (await store.claim(lease, 100)).executions
        await store.commit(lease, 1, [parks(row.id, 1_000_000) for row in claimed])
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


async def test_a_reader_beside_us_never_meets_a_lock(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    async with opened(sqlite_url) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM workflow").fetchone()
        await asyncio.gather(*(store.create_workflow(workflow(f"w{n}")) for n in range(50)))
        other.execute("COMMIT")
        other.close()
        assert (await store.list_workflows("default", 0, 1))[1] == 50


async def test_a_foreign_writer_is_waited_for_and_then_said(sqlite_url: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("storage.sqlite_writer.BUSY", 0.05)
    path = sqlite_url.removeprefix("sqlite:///")
    async with opened(sqlite_url) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.create_workflow(workflow())
        other.execute("COMMIT")
        other.close()
        await store.create_workflow(workflow())


async def test_one_bad_job_among_many_harms_nobody(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        lease = await store.acquire_lease("x", 60)
        ids = await store.reserve_ids(30)
        await store.commit(lease, 1, [begins(ids[0])])
        jobs: list[Any] = [store.create_workflow(workflow(f"w{n}", key=f"k{n % 10}")) for n in range(20)]
        jobs += [store.commit(lease, 2 + n, [begins(number)]) for n, number in enumerate(ids)]
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        assert sum(isinstance(answer, Exception) for answer in answers[:20]) == 10
        assert [isinstance(answer, BatchRefused) for answer in answers[20:]] == [True] + [False] * 29
        assert (await store.list_workflows("default", 0, 100))[1] == 10
        assert (await store.get_executions(list(ids))).keys() == set(ids)


async def test_a_transaction_that_breaks_leaves_nothing_of_anybody(sqlite_url: str) -> None:
    def breaks(work: Work) -> None:
        work.db.execute("ROLLBACK")
        raise OSError("disk")

    store = SQLiteStore(sqlite_url)
    await store.open()
    made = await store.create_workflow(workflow())
    writer = store._writer
    slow = writer.submit(lambda work: time.sleep(0.1))
    edit = asyncio.create_task(store.edit_tasks("default", made.id, adds("gone")))
    await asyncio.sleep(0)
    answers = await asyncio.gather(slow, edit, writer.submit(breaks), return_exceptions=True)
    assert [type(answer) for answer in answers[1:]] == [StoreUnavailable] * 2
    sql(sqlite_url, "UPDATE workflow SET revision = revision + 1")
    assert (await store.get_workflow("default", made.id)).tasks == ()
    draft, _ = await store.edit_tasks("default", made.id, adds("kept"))
    assert [task.name for task in draft.tasks] == ["kept"]
    assert await store.get_workflow("default", made.id) == draft
    await store.close()


async def test_what_is_queued_at_the_end_is_written(sqlite_url: str) -> None:
    store: Store = SQLiteStore(sqlite_url)
    await store.open()
    jobs = [asyncio.ensure_future(store.create_workflow(workflow(f"w{n}"))) for n in range(30)]
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    assert len(await asyncio.gather(*jobs)) == 30
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.create_workflow(workflow())


async def test_a_clock_that_goes_back_is_not_followed(sqlite_url: str, monkeypatch: Any) -> None:
    async with opened(sqlite_url) as store:
        lease = await store.acquire_lease("x", 60)
        (number,) = await store.reserve_ids(1)
        first = (await store.commit(lease, 1, [begins(number)])).at
        now = time.time_ns()
        monkeypatch.setattr("storage.sqlite_writer.time.time_ns", lambda: now - 3_600_000_000_000)
        second = (await store.commit(lease, 2, [says(number, 2)])).at
        await asyncio.sleep(0.02)
        third = (await store.commit(lease, 3, [parks(number, 3, wake_in=0.02)])).at
        assert first < second < third < first + 60
        assert third - second >= 0.02
        await asyncio.sleep(0.03)
        assert len((await store.claim(lease, 1)).executions) == 1
    async with opened(sqlite_url) as store:
        lease = await store.acquire_lease("x", 60)
        (number,) = await store.reserve_ids(1)
        assert (await store.commit(lease, 1, [begins(number)])).at > third
