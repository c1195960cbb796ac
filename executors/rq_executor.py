"""Runs calls on workers of RQ: `python cli.py worker`, any number of them, on a Redis they share with the engines.

    submit -> job in Redis -> a worker claims it, runs it, records the answer in it -> its id in our inbox -> report

The job is the truth about a call in flight: who attaches to it makes itself the addressee of its answer, which stays
in it until it was reported (and a moment longer, until it is journaled). Ids are deterministic, so that a repeated
submit is the same job, and an attempt is answered once, however often it is delivered. What Redis forgets (flushed,
restarted) is reported lost without suspicion; what a dead worker took along, with suspicion. While Redis is away,
calls wait.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import msgspec
from rq.utils import now, utcformat

from engine.errors import ConfigurationError, Unavailable
from engine.model import Failed, Failure, Lost, TaskCall
from engine.task_ports import ExecutorOptions, Report
from executors import _rq_scripts as scripts
from executors._rq_link import BROKEN, PAUSE, Call, Link, end
from executors._rq_names import Answer, Jobs, Names, decode_answer, job_key
from executors._rq_watch import Watch
from executors._rq_worker import open_worker

BATCH = 100
"""Calls that go to Redis in one round trip; few enough that encoding them does not hold up the loop."""
BATCH_BYTES = 4 * 1024 * 1024
"""Of answers that come in one round trip."""
KEEP = 2.0
"""Seconds that an answer stays in Redis after its report, until the journal has it."""
AUDIT_SECONDS = 5.0
"""How often every call in flight is looked after, though nobody said that anything happened to it."""
AUDIT_BATCH = 1000
FAREWELL = 2.0
"""Seconds that `stop` takes to send what was cancelled before."""


class _Flight:
    """A call of ours, from submit or attach to its report."""

    __slots__ = ("attach", "call", "id", "sent")

    def __init__(self, call: TaskCall, job_id: str, *, attach: bool) -> None:
        self.call = call
        self.id = job_id
        self.attach = attach
        self.sent = False
        """Whether Redis has it, so that its absence says something."""


class RQExecutor:
    """The engine's side. Three tasks: one writes, one reads answers, one looks after workers and lost calls."""

    name: ClassVar[str] = "rq"
    outlives: ClassVar[bool] = True

    def __init__(self, options: ExecutorOptions) -> None:
        self._url = options.redis_url
        self._names = Names(options.installation)
        self._jobs = Jobs(self._names, f"{options.open_host.__module__}.{options.open_host.__qualname__}")
        engine = secrets.token_hex(8)
        self._inbox = self._names.inbox(engine)
        self._engine = self._names.engine(engine)
        self._flights: dict[str, _Flight] = {}
        self._new: list[_Flight] = []
        self._cancelled: list[str] = []
        self._news = asyncio.Event()
        self._taken: deque[tuple[float, str]] = deque()
        self._report: Report | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # --- life cycle ---

    async def start(self, report: Report) -> None:
        if not self._url:
            raise ConfigurationError(
                "the executor rq needs a Redis: set REDIS_URL to redis://host:6379/0, or EXECUTOR to asyncio"
            )
        self._link = Link(self._url)
        try:
            await self._link.open()
            self._watch = Watch(self._link, self._names, self._engine)
            await self._watch.round()
        except BROKEN as error:
            await self._link.close()
            raise Unavailable(f"Redis does not let us work: {error}") from None
        except BaseException:
            await self._link.close()
            raise
        self._report = report
        duties: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "write": self._write,
            "read": self._read,
            "look": self._look,
        }
        self._tasks = [asyncio.create_task(duty(), name=f"rq-{name}") for name, duty in duties.items()]

    async def stop(self) -> None:
        if self._report is None:
            return
        self._report = None
        self._flights.clear()
        await end(self._tasks)
        with suppress(*BROKEN):
            async with asyncio.timeout(FAREWELL):
                await self._link.run_all([(scripts.CANCEL, [job_key(i)], [i]) for i in self._cancelled])
                await self._link.client.unlink(self._inbox, self._engine)
        await self._link.close()

    # --- what the engine asks ---

    def submit(self, calls: Sequence[TaskCall]) -> None:
        self._take_on(calls, attach=False)

    def attach(self, calls: Sequence[TaskCall]) -> Sequence[TaskCall]:
        self._take_on(calls, attach=True)
        return calls

    def _take_on(self, calls: Sequence[TaskCall], *, attach: bool) -> None:
        for call in calls:
            job_id = self._names.job_id(call)
            flight = self._flights[job_id] = _Flight(call, job_id, attach=attach)
            self._new.append(flight)
        if calls:
            self._news.set()

    def cancel(self, calls: Sequence[TaskCall]) -> None:
        gone = self._forget(calls)
        if gone:
            self._cancelled.extend(gone)
            self._news.set()

    def detach(self, calls: Sequence[TaskCall]) -> None:
        self._forget(calls)

    def _forget(self, calls: Sequence[TaskCall]) -> list[str]:
        """Their ids, if they are ours and in flight."""
        gone = []
        for call in calls:
            job_id = self._names.job_id(call)
            flight = self._flights.get(job_id)
            if flight is not None and flight.call is call:
                del self._flights[job_id]
                gone.append(job_id)
        return gone

    # --- writing ---

    async def _write(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            flights, self._new = self._new, []
            for start in range(0, len(flights), BATCH):
                await self._deliver(flights[start : start + BATCH])
            # what was cancelled meanwhile was new before: it goes after
            while self._cancelled:
                cancelled = self._cancelled[:BATCH]
                await self._insist("cancel", [(scripts.CANCEL, [job_key(i)], [i]) for i in cancelled])
                del self._cancelled[: len(cancelled)]

    async def _deliver(self, flights: list[_Flight]) -> None:
        """Until Redis has them all; a part of them may have come when the rest is sent again."""
        left = flights

        async def attempt() -> bool:
            nonlocal left
            left = [flight for flight in left if self._is_ours(flight)]
            at = utcformat(now())
            replies = await self._link.run_all([self._message(flight, at) for flight in left])
            refused = [reply for reply in replies if isinstance(reply, Exception)]
            rest = []
            for flight, reply in zip(left, replies, strict=True):
                if isinstance(reply, Exception):
                    rest.append(flight)
                else:
                    self._sent(flight, known=bool(reply))
            left = rest
            if refused:
                self._link.unwell("submit", refused[0])
            return not left

        await self._link.insist("submit", attempt)

    def _message(self, flight: _Flight, at: str) -> Call:
        key = job_key(flight.id)
        if flight.attach:
            return scripts.ATTACH, [key, self._names.queue_key], [flight.id, self._inbox, self._watch.run]
        data, fields = self._jobs.fields(flight.call, at)
        words = [flight.id, self._inbox, data, self._watch.run, *fields]
        return scripts.ENQUEUE, [key, self._names.queue_key], words

    def _sent(self, flight: _Flight, *, known: bool) -> None:
        flight.sent = True
        if flight.attach and not known:
            self._lose(flight, "Redis does not know the call")

    async def _insist(self, what: str, calls: Sequence[Call]) -> None:
        async def attempt() -> bool:
            replies = await self._link.run_all(calls)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            return True

        await self._link.insist(what, attempt)

    # --- reading ---

    async def _read(self) -> None:
        while True:
            try:
                found = await self._link.run(scripts.TAKE, [self._inbox], [BATCH, BATCH_BYTES])
                self._answered(found)
                if not found:
                    await self._link.wait_for_item(self._inbox)
            except BROKEN as error:
                self._link.unwell("read answers", error)
                await asyncio.sleep(PAUSE)

    def _answered(self, found: Sequence[bytes]) -> None:
        """What nobody here waits for stays where it is: another engine may."""
        for name, data in zip(found[::2], found[1::2], strict=True):
            flight = self._flights.pop(name.decode(), None)
            if flight is None or self._report is None:
                continue
            self._taken.append((asyncio.get_running_loop().time(), flight.id))
            try:
                answer = decode_answer(data)
            except msgspec.DecodeError as error:
                failure = Failure("bad_answer", f"the worker's answer cannot be read: {error}", flight.call.task)
                answer = Answer(Failed(failure), 0.0)
            self._report(flight.call, answer.result, answer.elapsed)

    # --- looking after ---

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        next_audit = loop.time() + AUDIT_SECONDS
        while True:
            try:
                forgotten = await self._watch.round()
                if forgotten or loop.time() >= next_audit:
                    next_audit = loop.time() + AUDIT_SECONDS
                    await self._audit()
                await self._tidy(loop.time() - KEEP)
                self._link.well()
            except BROKEN as error:
                self._watch.interrupted()
                self._link.unwell("look after workers", error)
            await asyncio.sleep(self._watch.seconds)

    async def _audit(self) -> None:
        """Asks after every call in flight; one that is answered is put into the inbox."""
        sent = [flight for flight in self._flights.values() if flight.sent]
        for start in range(0, len(sent), AUDIT_BATCH):
            asked = {flight.id: flight for flight in sent[start : start + AUDIT_BATCH]}
            keys = [self._inbox, self._names.queue_key]
            gone = await self._link.run(scripts.AUDIT, keys, [self._watch.run, *asked])
            for name, status in zip(gone[::2], gone[1::2], strict=True):
                flight = asked[name.decode()]
                if status:
                    reason = f"RQ gave it up ({status.decode()})"
                    self._lose(flight, reason, suspect=True)
                else:
                    self._lose(flight, "Redis has forgotten the call")

    async def _tidy(self, before: float) -> None:
        """Deletes what was reported a moment ago."""
        old = []
        while self._taken and self._taken[0][0] <= before:
            old.append(job_key(self._taken.popleft()[1]))
        if old:
            await self._link.client.unlink(*old)

    def _lose(self, flight: _Flight, reason: str, *, suspect: bool = False) -> None:
        if self._is_ours(flight) and self._report is not None:
            del self._flights[flight.id]
            if suspect:
                self._taken.append((asyncio.get_running_loop().time(), flight.id))
            self._report(flight.call, Lost(reason, suspect), 0.0)

    def _is_ours(self, flight: _Flight) -> bool:
        return self._flights.get(flight.id) is flight


__all__ = ["open_executor", "open_worker"]

open_executor = RQExecutor
