"""What a Ray actor of ours is made of: it runs calls side by side and keeps their results until they are taken.

Plain asyncio, without Ray. Every message names its `owner`, the bridge that it comes from: results go to the owner
of their call, and `attach` makes another bridge the owner when the first one died.
"""

import asyncio
import os
import pickle
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress

import msgspec

from engine.model import Result, TaskCall
from engine.outcomes import portable
from engine.task_ports import OpenHost
from executors._attempts import Attempts
from executors._ray_wire import Done, pack, read_calls

WAIT = 5.0
"""Seconds that `take` waits for a result."""
RETAIN = 600.0
"""Seconds without a `take` after which what waits for an owner is dropped; until then it keeps this worker alive."""
KEPT = 64 * 2**20
"""Bytes of results that are kept, taken ones too: their engine may have died before it wrote them down."""
REPLY = 8 * 2**20
"""Bytes of results in one answer; a larger one goes alone."""
REFUSED = 10_000
"""Unknown calls that are remembered, so that one that comes late does not begin."""
LOOK = 1.0
"""Seconds between two looks whether anybody needs this worker."""

_read_call = msgspec.json.Decoder(TaskCall).decode
_json = msgspec.json.Encoder().encode


class _Job(msgspec.Struct):
    """A call that runs, and who waits for it."""

    id: str
    call: TaskCall
    owner: str


class _Owner:
    """A bridge, what it has still to take, and when it last asked."""

    def __init__(self) -> None:
        self.mail: dict[str, Done] = {}
        self.news = asyncio.Event()
        self.asked = time.monotonic()

    def put(self, done: Done) -> None:
        self.mail[done.id] = done
        self.news.set()

    def pick(self) -> list[Done]:
        """At most `REPLY` bytes, at least one if there is one."""
        size = 0
        picked: list[Done] = []
        for done in self.mail.values():
            size += len(done.payload)
            if picked and size > REPLY:
                break
            picked.append(done)
        for done in picked:
            del self.mail[done.id]
        if not self.mail:
            self.news.clear()
        return picked


class RayWorker:
    """Ends by itself `linger` seconds after its owners died, once nothing runs and nothing waits to be taken."""

    def __init__(
        self,
        open_host: bytes,
        environment: dict[str, str],
        threads: int,
        linger: float,
        leave: Callable[[], object] = lambda: os._exit(0),
    ) -> None:
        for name, value in environment.items():
            os.environ.setdefault(name, value)
        self._open_host = open_host
        self._threads = threads
        self._linger = linger
        self._leave = leave
        self._stack = AsyncExitStack()
        self._jobs: dict[str, _Job] = {}
        self._by_call: dict[int, _Job] = {}
        self._owners: defaultdict[str, _Owner] = defaultdict(_Owner)
        self._kept: OrderedDict[str, Done] = OrderedDict()
        self._kept_bytes = 0
        self._refused: OrderedDict[str, None] = OrderedDict()
        self._used = time.monotonic()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    async def open(self) -> None:
        """Builds what calls need, once. Raises what the host raises."""
        open_host: OpenHost = pickle.loads(self._open_host)  # noqa: S301 — from our own engine
        host = await self._stack.enter_async_context(open_host())
        self._attempts = Attempts(host, self._report, self._threads)
        self._used = time.monotonic()

    async def close(self) -> None:
        """Cancels what runs; for tests, an actor just ends."""
        await self._attempts.stop()
        await self._stack.aclose()

    async def submit(self, owner: str, batch: bytes) -> bytes:
        """Begins all (a packed list of `Sent`); answers what has ended already, as `take` does.

        A call that is known, or was said to be unknown, does not begin again.
        """
        box = self._touch(owner)
        calls: list[TaskCall] = []
        for sent in read_calls(batch):
            if self._knows(sent.id) or sent.id in self._refused:
                continue
            call = _read_call(sent.payload)
            self._jobs[sent.id] = self._by_call[id(call)] = _Job(sent.id, call, owner)
            calls.append(call)
        self._attempts.submit(calls)
        return pack(box.pick())

    async def take(self, owner: str) -> bytes:
        """A packed list of `Done`, as soon as there is one; an empty list after `WAIT` seconds."""
        box = self._touch(owner)
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT):
                while not box.mail:
                    await box.news.wait()
        self._touch(owner)
        return pack(box.pick())

    async def attach(self, owner: str, ids: list[str]) -> list[str]:
        """Those that run here or have ended here; their results go to `owner` from now on. The others never begin."""
        box = self._touch(owner)
        known: list[str] = []
        for name in ids:
            done = self._kept.get(name)
            job = self._jobs.get(name)
            if done is not None:
                box.put(done)
            elif job is not None:
                job.owner = owner
            else:
                self._refuse(name)
                continue
            known.append(name)
        return known

    async def cancel(self, ids: list[str]) -> None:
        """Stops what can be stopped, and forgets it."""
        self._attempts.cancel([job.call for job in self._drop(ids)])

    def _drop(self, ids: Iterable[str]) -> Iterable[_Job]:
        for name in ids:
            job = self._jobs.pop(name, None)
            if job is not None:
                del self._by_call[id(job.call)]
                yield job
            self._refuse(name)

    def _report(self, call: TaskCall, result: Result, elapsed: float) -> None:
        job = self._by_call.pop(id(call), None)
        if job is None:
            return
        del self._jobs[job.id]
        done = Done(job.id, _json(portable(call.task, result, elapsed)), elapsed)
        self._keep(done)
        self._owners[job.owner].put(done)

    # --- what is remembered ---

    def _touch(self, owner: str) -> _Owner:
        box = self._owners[owner]
        box.asked = self._used = time.monotonic()
        return box

    def _knows(self, name: str) -> bool:
        return name in self._jobs or name in self._kept

    def _keep(self, done: Done) -> None:
        self._kept[done.id] = done
        self._kept_bytes += len(done.payload)
        while self._kept_bytes > KEPT and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._kept_bytes -= len(old.payload)

    def _refuse(self, name: str) -> None:
        self._refused[name] = None
        if len(self._refused) > REFUSED:
            self._refused.popitem(last=False)

    # --- when nobody needs it any more ---

    def _watch(self) -> None:
        """In a thread of its own, so that a handler that blocks the loop does not keep an orphan alive."""
        while not self._is_useless(time.monotonic()):
            time.sleep(LOOK)
        self._leave()

    def _is_useless(self, now: float) -> bool:
        for name, box in list(self._owners.items()):
            if now - box.asked > RETAIN:
                self._owners.pop(name, None)
        if self._jobs or now - self._used < self._linger:
            return False
        return not any(box.mail for box in list(self._owners.values()))
