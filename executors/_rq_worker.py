"""A worker: claims calls, runs many at once in one loaded application, records their answers.

RQ's own tools see it (`rq info`, `rq.command`); its beats, which engines watch, are ours: RQ finds a dead worker after
minutes. Handlers that hold up the loop for longer than the worker's life make it look dead.
"""

import asyncio
import json
import os
import platform
import re
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import structlog
from rq.utils import now, utcformat
from rq.version import VERSION

from engine.errors import ConfigurationError
from engine.model import Failed, Failure, Lost, Result, TaskCall
from engine.outcomes import portable
from engine.task_ports import Host, OpenHost
from executors import _rq_scripts as scripts
from executors._attempts import Attempts
from executors._rq_link import BROKEN, PAUSE, WAIT, Link, Word, end
from executors._rq_names import ANSWER_SECONDS, Answer, Names, call_of, encode_answer, job_key

BATCH = 100
"""Answers that go to Redis in one round trip."""

log = structlog.get_logger("worker")


class WorkerOptions(NamedTuple):
    """What a worker is told by its process."""

    redis_url: str | None
    installation: str = "millrace"
    concurrency: int = 16
    """Calls that it runs at once."""
    threads: int = 32
    """For blocking handlers."""
    life: float = 10.0
    """Seconds without a beat that make it dead."""
    grace: float = 5.0
    """Seconds that calls may run on when it is told to stop; then others get them."""


class Worker:
    """One process's worker."""

    def __init__(self, options: WorkerOptions) -> None:
        if not options.redis_url:
            raise ConfigurationError(
                "a worker needs a Redis: set REDIS_URL to redis://host:6379/0, that of the engines"
            )
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}")
        self._options = options
        self._names = Names(options.installation)
        self._link = Link(options.redis_url)
        self._beats = 0
        self._born = utcformat(now())
        self._key = f"rq:worker:{self.name}"
        self._running_key = self._names.running(self.name)
        self._calls: dict[str, TaskCall] = {}
        """What runs here, by job."""
        self._jobs: dict[int, str] = {}
        """The job of a call, by the call's `id()`."""
        self._answers: dict[str, tuple[bytes, str]] = {}
        """Not yet in Redis: the answer and the job's status."""
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._told = asyncio.Event()
        """Whether Redis has every answer."""
        self._told.set()
        self._stopped = asyncio.Event()
        self._strays = False
        """Whether a claim of ours may have succeeded without telling us."""

    async def run(self, open_host: OpenHost, ready: Callable[[], None]) -> None:
        """Until `stop`. Raises `ConfigurationError` or `Unavailable` when it cannot begin."""
        try:
            await self._link.open()
            async with open_host() as host, self._working(host):
                ready()
                await self._stopped.wait()
                log.info("stopping", running=len(self._calls))
        finally:
            await self._link.close()

    def stop(self) -> None:
        """Takes no more; `run` returns when the rest is done or given back."""
        self._stopped.set()

    @asynccontextmanager
    async def _working(self, host: Host) -> AsyncIterator[None]:
        self._attempts = Attempts(host, self._report, self._options.threads)
        await self._beat()
        tending = [_task("beat", self._keep_beating), _task("answer", self._answer), _task("listen", self._listen)]
        claiming = _task("claim", self._claim)
        try:
            yield
        finally:
            await end([claiming])
            await self._leave()
            await end(tending)
            with suppress(*BROKEN):
                await self._link.run(
                    scripts.LEAVE, [self._names.beats, self._running_key, self._key], [self.name, self._names.queue]
                )

    async def _leave(self) -> None:
        """Lets calls end within the grace; what still runs is left to another attempt, what did not begin to others."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.grace
        while self._calls and loop.time() < deadline:
            self._room.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._room.wait(), deadline - loop.time())
        left = list(self._calls)
        self._jobs.clear()
        await self._attempts.stop()
        for job_id in left:
            self._say(job_id, Lost("its worker was stopped", suspect=False), 0.0)
        self._calls.clear()
        with suppress(*BROKEN):
            keys = [self._names.queue_key, self._running_key]
            await self._link.run(scripts.GIVE_BACK, keys, [self.name, *self._answers])
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._told.wait(), WAIT)

    # --- claiming ---

    async def _claim(self) -> None:
        while True:
            try:
                await self._claim_some()
            except BROKEN as error:
                self._strays = True
                self._link.unwell("claim", error)
                await asyncio.sleep(PAUSE)

    async def _claim_some(self) -> None:
        room = self._options.concurrency - len(self._calls) - len(self._answers)
        if room <= 0:
            self._room.clear()
            await self._room.wait()
            return
        keys = [self._names.queue_key, self._running_key]
        if self._strays:
            await self._link.run(scripts.GIVE_BACK, keys, [self.name, *self._calls, *self._answers])
            self._strays = False
            self._link.well()
        self._strays = True
        words: list[Word] = [room, self.name, utcformat(now())]
        found = await self._link.run(scripts.CLAIM, [*keys, self._names.beats], words)
        self._strays = False
        for name, data in zip(found[::2], found[1::2], strict=True):
            self._begin(name.decode(), data)
        if not found:
            await self._link.wait_for_item(self._names.queue_key)

    def _begin(self, job_id: str, data: bytes) -> None:
        try:
            call = call_of(data)
        except ValueError as error:
            log.error("a job that is not ours", job=job_id, reason=str(error))
            failed = Failed(
                Failure("foreign_job", f"this worker runs only calls of Millrace: {error}"), retryable=False
            )
            self._say(job_id, failed, 0.0)
            return
        self._calls[job_id] = call
        self._jobs[id(call)] = job_id
        self._attempts.submit([call])

    # --- answering ---

    def _report(self, call: TaskCall, result: Result, elapsed: float) -> None:
        job_id = self._jobs.pop(id(call), None)
        if job_id is not None:
            del self._calls[job_id]
            self._say(job_id, portable(call.task, result, elapsed), elapsed)

    def _say(self, job_id: str, result: Result, elapsed: float) -> None:
        status = "failed" if isinstance(result, Failed | Lost) else "finished"
        self._answers[job_id] = encode_answer(Answer(result, elapsed)), status
        self._told.clear()
        self._news.set()
        self._room.set()

    async def _answer(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._link.insist("answer", self._record)
            self._told.set()
            self._room.set()

    async def _record(self) -> bool:
        """Whether every answer is in Redis."""
        some = list(self._answers.items())[:BATCH]
        at = utcformat(now())
        replies = await self._link.run_all(
            [
                (scripts.FINISH, [job_key(i), self._running_key], [i, answer, status, at, ANSWER_SECONDS])
                for i, (answer, status) in some
            ]
        )
        refused = [reply for reply in replies if isinstance(reply, Exception)]
        for (job_id, _), reply in zip(some, replies, strict=True):
            if not isinstance(reply, Exception):
                del self._answers[job_id]
        if refused:
            raise refused[0]
        return not self._answers or await self._record()

    # --- being alive, and listening ---

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(self._options.life / 4)
            try:
                await self._beat()
                self._link.well()
            except BROKEN as error:
                self._link.unwell("beat", error)

    async def _beat(self) -> None:
        """Says that we live, to engines and to RQ; stops what nobody waits for any more."""
        self._beats += 1
        running = list(self._calls)
        fields = self._fields(running)
        words: list[Word] = [
            self.name, f"{self._options.life}:{self._beats}", self._names.queue, int(3 * self._options.life) + 60,
            len(fields), *(word for pair in fields.items() for word in pair), *running,
        ]  # fmt: skip
        for job_id in await self._link.run(scripts.BEAT, [self._names.beats, self._key], words):
            self._stop_job(job_id.decode())

    def _fields(self, running: Sequence[str]) -> dict[str, str | int]:
        """What `rq info` shows."""
        return {
            "birth": self._born,
            "last_heartbeat": utcformat(now()),
            "queues": self._names.queue,
            "pid": os.getpid(),
            "hostname": socket.gethostname(),
            "ip_address": "",
            "version": VERSION,
            "python_version": platform.python_version(),
            "state": "busy" if running else "idle",
            "current_job": running[0] if running else "",
        }

    def _stop_job(self, job_id: str) -> None:
        call = self._calls.pop(job_id, None)
        if call is not None:
            del self._jobs[id(call)]
            self._attempts.cancel([call])
            self._room.set()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._link.client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(f"rq:pubsub:{self.name}")
                    while True:
                        message = await channel.get_message(timeout=WAIT)
                        if message is not None:
                            self._obey(message["data"])
            except BROKEN as error:
                self._link.unwell("listen", error)
                await asyncio.sleep(PAUSE)

    def _obey(self, data: bytes) -> None:
        """A command in RQ's words; one that was missed is made up for by the next beat."""
        try:
            command = json.loads(data)
            word, job_id = command["command"], command.get("job_id", "")
        except (ValueError, TypeError, KeyError, AttributeError):
            log.warning("a command that cannot be read")
            return
        if word == "shutdown":
            self.stop()
        elif word == "stop-job" and job_id in self._calls:
            self._stop_job(job_id)
            # an engine that cancelled it has deleted the job: then this says nothing to anybody
            self._say(job_id, Failed(Failure("stopped", "stopped by a command of RQ")), 0.0)


def open_worker(**options: Any) -> Worker:
    """By the names of `WorkerOptions`."""
    return Worker(WorkerOptions(**options))


def _task(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> "asyncio.Task[None]":
    return asyncio.create_task(work(), name=f"worker-{name}")
