"""RQ when things break, and what RQ's own tools see of it. What every executor does is in `tests/conformance`."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq import Worker as RQWorker
from rq.command import send_shutdown_command, send_stop_job_command
from rq.job import Job
from rq.serializers import JSONSerializer

from deploy.processes import Process
from engine.model import Completed, Failed, Failure, Lost, TaskCall
from executors import _rq_watch, rq_executor
from executors._rq_names import Names
from tests.conformance.executor_host import Marks
from tests.conformance.rigs import RQRig
from tests.conformance.test_executors import SOON, Bench
from tests.conftest import StartRedis

SECONDS = 60.0


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path)


@pytest.fixture(scope="module")
def shared() -> Iterator[RQRig]:
    with RQRig(workers=1) as rig:
        yield rig


@contextlib.asynccontextmanager
async def engine(rig: RQRig, marks: Marks) -> Any:
    bench = Bench("rq_executor", rig.options(), marks)
    await bench.start()
    try:
        yield bench
    finally:
        bench.executor.cancel(bench.submitted)
        await bench.executor.stop()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not true():
            await asyncio.sleep(0.01)


def client(rig: RQRig) -> redis.Redis:
    url = rig.options().redis_url
    assert url is not None
    return redis.Redis.from_url(url)


def keys(rig: RQRig) -> list[bytes]:
    """What Redis holds of the calls of an installation."""
    with client(rig) as server:
        found = [key for key in server.keys("*") if rig.installation.encode() in key]
    return [key for key in found if b":beats" not in key and b"rq:workers" not in key]


# --- names ---


def test_a_job_id_is_made_of_what_rq_allows_and_names_one_attempt() -> None:
    names = Names("millrace")
    assert names.job_id(TaskCall(7, "pay", "noop", {}, attempt=2)) == "millrace-e7-tpay-i-a2"
    odd = [("a-i", ""), ("a", "-i"), ("a.b", ""), ("a_b", ""), ("é", ""), ("è", ""), ("a" * 200, ""), ("a", "[17].2")]
    ids = [names.job_id(TaskCall(7, task, "noop", {}, iteration=iteration)) for task, iteration in odd]
    assert len(set(ids)) == len(ids)
    for job_id in ids:
        Job(job_id, connection=redis.Redis())


# --- what is left behind ---


async def test_nothing_is_left_in_redis(shared: RQRig, marks: Marks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rq_executor, "KEEP", 0.0)
    monkeypatch.setattr(_rq_watch, "ROUND", 0.05)
    async with engine(shared, marks) as bench:
        waiting = bench.submit("async:wait", attempt=2)
        bench.submit(*["light:describe"] * 50)
        await bench.results(50)
        await marks.wait("t0.began")
        bench.executor.cancel(waiting)
        await marks.wait("t0.cancelled")
        await until(lambda: len(keys(shared)) <= 2)
    await until(lambda: keys(shared) == [f"rq:queue:{shared.installation}".encode()] or not keys(shared))


# --- delivered twice ---


async def test_a_job_that_is_delivered_twice_runs_and_is_reported_once(shared: RQRig, marks: Marks) -> None:
    async with engine(shared, marks) as bench:
        (call,) = bench.submit("async:wait")
        await marks.wait("t0.began")
        job_id = Names(shared.installation).job_id(call)
        with client(shared) as server:
            for _ in range(3):
                server.rpush(f"rq:queue:{shared.installation}", job_id)
            await until(lambda: server.llen(f"rq:queue:{shared.installation}") == 0)
            marks.put("go")
            await bench.results(1)
            server.rpush(f"rq:queue:{shared.installation}", job_id)
            await until(lambda: server.llen(f"rq:queue:{shared.installation}") == 0)
        await asyncio.sleep(SOON)
        assert [result for _, result, _ in bench.reports] == [Completed()]
        assert marks.count("began") == 1


async def test_a_repeated_submit_is_the_same_job(shared: RQRig, marks: Marks) -> None:
    async with engine(shared, marks) as one, engine(shared, marks) as other:
        one.submit("async:wait")
        await marks.wait("t0.began")
        other.submit("async:wait")
        await asyncio.sleep(SOON)
        marks.put("go")
        assert await other.results(1) == [Completed()]
        assert one.reports == []


async def test_a_job_that_is_not_ours_is_refused(shared: RQRig) -> None:
    with client(shared) as server:
        queue = Queue(shared.installation, connection=server, serializer=JSONSerializer)
        job = queue.enqueue("os.system", "true")
        await until(lambda: job.get_status() == "failed")
        job.delete()


# --- RQ's own tools ---


async def test_rq_sees_the_queue_the_worker_and_the_job(shared: RQRig, marks: Marks) -> None:
    async with engine(shared, marks) as bench:
        (call,) = bench.submit("async:wait")
        await marks.wait("t0.began")
        with client(shared) as server:
            queue = Queue(shared.installation, connection=server, serializer=JSONSerializer)
            await until(lambda: RQWorker.all(queue=queue))
            (worker,) = RQWorker.all(queue=queue)
            assert worker.pid == int(await marks.wait("t0.began"))
            await until(lambda: server.hget(worker.key, "state") == b"busy")
            job = Job.fetch(Names(shared.installation).job_id(call), connection=server, serializer=JSONSerializer)
            assert (job.get_status(), job.worker_name, job.origin) == ("started", worker.name, shared.installation)
            assert job.func_name == "executors._rq_function.run_call"
            send_stop_job_command(server, job.id, serializer=JSONSerializer)
        (result,) = await bench.results(1)
        assert isinstance(result, Failed)
        assert result.error.type == "stopped"
        assert marks.has("t0.cancelled")


async def test_a_plain_worker_of_rq_runs_calls_too(redis_url: str, marks: Marks, tmp_path: Path) -> None:
    rig = RQRig(redis_url, workers=0)
    command = ["-m", "rq.cli", "worker", "--url", redis_url, "--serializer", "json", rig.installation]
    with Process("rq", command, {}, tmp_path / "log"):
        async with engine(rig, marks) as bench:
            bench.submit("async:describe", "light:fail", config={"error": "typed"})
            described, failed = await bench.results(2)
    assert described == Completed(["t0", 0, 1, "", ""])
    assert failed == Failed(Failure("s3", "no such bucket", "t1"), False)


# --- Redis breaks ---


async def test_a_flushed_redis_loses_calls_without_suspicion(redis_url: str, marks: Marks) -> None:
    with RQRig(redis_url, workers=1) as rig:
        async with engine(rig, marks) as bench:
            bench.submit("async:wait", "async:wait")
            await marks.wait_count("began", 2)
            with client(rig) as server:
                server.flushdb()
            results = await bench.results(2)
            assert [(type(result), result.suspect) for result in results] == [(Lost, False)] * 2
            await marks.wait_count("cancelled", 2)
            bench.reports.clear()
            assert await bench.result("light:describe", attempt=2) == Completed(["t0", 0, 2, "", ""])


async def test_calls_wait_while_redis_is_away(start_redis: StartRedis, marks: Marks) -> None:
    server = start_redis(durable=True)
    with RQRig(server.url(), workers=1) as rig:
        async with engine(rig, marks) as bench:
            bench.submit("async:wait")
            await marks.wait("t0.began")
            server.stop("crash")
            marks.put("go")
            bench.submit("light:describe", attempt=2)
            await asyncio.sleep(SOON)
            assert bench.reports == []
            server.start()
            async with asyncio.timeout(SECONDS):
                while len(bench.reports) < 2:
                    await asyncio.sleep(0.01)
            assert Completed(["t0", 0, 2, "", ""]) in [result for _, result, _ in bench.reports]


async def test_calls_wait_while_redis_is_full(start_redis: StartRedis, marks: Marks) -> None:
    server = start_redis()
    with RQRig(server.url(), workers=1) as rig, client(rig) as admin:
        async with engine(rig, marks) as bench:
            bench.submit("async:wait")
            await marks.wait("t0.began")
            admin.config_set("maxmemory", "1")
            bench.submit("light:describe", attempt=2)
            marks.put("go")
            await asyncio.sleep(2 * SOON)
            admin.config_set("maxmemory", "0")
            await bench.results(2)
            results = [result for _, result, _ in bench.reports]
    assert all(isinstance(result, Completed) for result in results)


# --- workers come and go ---


async def test_a_worker_that_stops_leaves_what_it_cannot_end_to_another_attempt(redis_url: str, marks: Marks) -> None:
    with RQRig(redis_url, workers=2) as rig:
        async with engine(rig, marks) as bench:
            bench.submit("async:wait", "blocking:late")
            pid = int(await marks.wait("t0.began"))
            await marks.wait("t1.began")
            (worker,) = (worker for worker in rig.workers if worker.pid == pid)
            worker.send(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait) == 0
            lost = [result for result in await bench.results(1) if isinstance(result, Lost)]
            assert lost
            assert not any(result.suspect for result in lost)
            bench.reports.clear()
            assert await bench.result("light:describe", attempt=2) == Completed(["t0", 0, 2, "", ""])


async def test_a_worker_that_is_asked_by_rq_to_stop_stops(redis_url: str) -> None:
    with RQRig(redis_url, workers=1) as rig, client(rig) as server:
        queue = Queue(rig.installation, connection=server, serializer=JSONSerializer)
        (worker,) = RQWorker.all(queue=queue)
        await asyncio.sleep(SOON)
        send_shutdown_command(server, worker.name)
        assert await asyncio.to_thread(rig.workers[0].wait) == 0
        assert RQWorker.all(queue=queue) == []


async def test_a_stopped_and_continued_worker_changes_nothing(redis_url: str, marks: Marks) -> None:
    with RQRig(redis_url, workers=1) as rig:
        async with engine(rig, marks) as bench:
            bench.submit("async:wait", config={"answer": "zombie"})
            await marks.wait("t0.began")
            rig.workers[0].send(signal.SIGSTOP)
            (result,) = await bench.results(1)
            assert isinstance(result, Lost)
            assert result.suspect
            rig.workers[0].send(signal.SIGCONT)
            await marks.wait("t0.cancelled")
            assert len(bench.reports) == 1
            bench.reports.clear()
            assert await bench.result("light:describe", attempt=2) == Completed(["t0", 0, 2, "", ""])


async def test_another_installation_takes_none_of_our_calls(shared: RQRig, marks: Marks) -> None:
    stranger = RQRig(workers=0)
    async with engine(stranger, marks) as bench:
        bench.submit("light:describe")
        await asyncio.sleep(SOON)
        assert bench.reports == []


async def test_a_redis_that_went_back_in_time_repeats_nothing(start_redis: StartRedis, marks: Marks) -> None:
    """Its disk holds the queue as it was before the calls ended; only what is still waited for runs."""
    server = start_redis(durable=True)
    with RQRig(server.url(), workers=0) as rig:
        async with engine(rig, marks) as bench:
            bench.submit("async:wait", "async:wait")
            async with asyncio.timeout(SECONDS):
                while len(keys(rig)) < 4:
                    await asyncio.sleep(0.01)
            # as if the first had ended and been journaled, after what the disk holds
            bench.executor.detach(bench.submitted[:1])
            await asyncio.to_thread(server.restart, "crash")
            marks.put("go")
            with rig.worker(marks.folder, 0):
                await marks.wait("t1.ended")
                await bench.results(1)
                await asyncio.sleep(SOON)
            assert not marks.has("t0.began")
