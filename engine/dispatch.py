"""Which executor runs a call. The default one starts with the engine, any other with the first call that names it.

An executor that cannot start harms only the calls that asked for it.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import structlog

from engine.errors import ConfigurationError, MillraceError, Unavailable
from engine.model import Failed, Failure, Lost, TaskCall
from engine.task_ports import Executor, Report

PATIENCE = 30.0
"""Seconds that the calls of an executor whose server does not answer wait for it."""
PAUSE = 1.0
"""Seconds between two tries to start it."""

log = structlog.get_logger(__name__)


class Dispatch:
    """Executors by name, and the calls of those that are still starting."""

    def __init__(self, openers: Mapping[str, Callable[[], Executor]], default: str, report: Report) -> None:
        self._openers = openers
        self._default = default
        self._report = report
        self._ready: dict[str, Executor] = {}
        self._starting: dict[str, _Starting] = {}
        self._trusted_until = math.inf
        self._held: list[TaskCall] = []

    async def start(self) -> None:
        """Starts the default executor, once. Raises `ConfigurationError` or `Unavailable` when it cannot."""
        if self._default not in self._openers:
            choices = ", ".join(sorted(self._openers))
            raise ConfigurationError(f"there is no executor {self._default!r}; there are: {choices}")
        if self._default not in self._ready:
            self._ready[self._default] = await self._start(self._default)

    async def stop(self) -> None:
        """Nothing is reported afterwards."""
        starting, self._starting = self._starting, {}
        for one in starting.values():
            one.task.cancel()
        await asyncio.gather(*(one.task for one in starting.values()), return_exceptions=True)
        await asyncio.gather(*(executor.stop() for executor in self._ready.values()))

    def submit(self, calls: Sequence[TaskCall]) -> None:
        """Begins all; never blocks. A result may be reported before this returns.

        A process that was stopped for longer than its lease begins nothing before it has renewed: what its last
        commits allowed may run elsewhere by now.
        """
        if time.monotonic() > self._trusted_until:
            self._held.extend(calls)
            return
        for name, mine in self._by_executor(calls):
            executor = self._ready.get(name)
            if executor is not None:
                executor.submit(mine)
            elif name in self._openers:
                self._begin(name).submitted.extend(mine)
            else:
                self._fail(mine, "unknown_executor", f"this engine runs no executor {name!r}", retryable=False)

    def trust(self, until: float) -> None:
        """The lease holds at least until this moment of the monotonic clock: what was held back begins."""
        self._trusted_until = until
        held, self._held = self._held, []
        self.submit(held)

    def attach(self, calls: Sequence[TaskCall]) -> list[TaskCall]:
        """Those of `calls` that may still run somewhere and will be reported, as if submitted."""
        known: list[TaskCall] = []
        for name, mine in self._by_executor(calls):
            executor = self._ready.get(name)
            if executor is not None:
                known.extend(executor.attach(mine))
            elif name in self._openers:
                self._begin(name).attached.extend(mine)
                known.extend(mine)
        return known

    def cancel(self, calls: Sequence[TaskCall]) -> None:
        """Stops what can be stopped; nothing is reported for these calls afterwards."""
        self._forget(calls)
        for name, mine in self._by_executor(calls):
            if name in self._ready:
                self._ready[name].cancel(mine)
            elif name in self._starting:
                self._starting[name].forget(mine)

    def detach(self, calls: Sequence[TaskCall]) -> None:
        """What runs elsewhere goes on for the next owner, who may be this engine."""
        self._forget(calls)
        for name, mine in self._by_executor(calls):
            if name in self._ready:
                self._ready[name].detach(mine)
            elif name in self._starting:
                self._starting[name].forget(mine)

    def outlives(self, call: TaskCall) -> bool:
        """Whether it goes on when this engine ends."""
        executor = self._ready.get(call.executor or self._default)
        return executor is not None and executor.outlives

    def _forget(self, calls: Sequence[TaskCall]) -> None:
        if self._held:
            gone = {id(call) for call in calls}
            self._held = [call for call in self._held if id(call) not in gone]

    def _by_executor(self, calls: Sequence[TaskCall]) -> Iterator[tuple[str, Sequence[TaskCall]]]:
        if not calls:
            return
        first = calls[0].executor
        if all(call.executor == first for call in calls):
            yield first or self._default, calls
            return
        groups: dict[str, list[TaskCall]] = {}
        for call in calls:
            groups.setdefault(call.executor or self._default, []).append(call)
        yield from groups.items()

    def _begin(self, name: str) -> "_Starting":
        one = self._starting.get(name)
        if one is None:
            one = self._starting[name] = _Starting()
            one.task = asyncio.create_task(self._open(name, one), name=f"executor-{name}")
        return one

    async def _open(self, name: str, one: "_Starting") -> None:
        try:
            executor = await self._insist(name)
        except Exception as error:
            del self._starting[name]
            reason = error.message if isinstance(error, MillraceError) else repr(error)
            log.error("executor cannot start", executor=name, reason=reason)
            self._fail([*one.submitted, *one.attached], "executor_unavailable", f"executor {name}: {reason}")
            return
        del self._starting[name]
        self._ready[name] = executor
        known = {id(call) for call in executor.attach(one.attached)}
        for call in one.attached:
            if id(call) not in known:
                self._report(call, Lost(f"executor {name} does not know it", suspect=False), 0.0)
        executor.submit(one.submitted)

    async def _insist(self, name: str) -> Executor:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while True:
            try:
                return await self._start(name)
            except Unavailable:
                if loop.time() + PAUSE > deadline:
                    raise
                await asyncio.sleep(PAUSE)

    async def _start(self, name: str) -> Executor:
        executor = self._openers[name]()
        await executor.start(self._report)
        log.info("executor started", executor=name)
        return executor

    def _fail(self, calls: Iterable[TaskCall], kind: str, message: str, *, retryable: bool = True) -> None:
        for call in calls:
            self._report(call, Failed(Failure(kind, message, call.task), retryable), 0.0)


class _Starting:
    """An executor on its way, and who waits for it."""

    task: "asyncio.Task[None]"

    def __init__(self) -> None:
        self.submitted: list[TaskCall] = []
        self.attached: list[TaskCall] = []

    def forget(self, calls: Iterable[TaskCall]) -> None:
        gone = {id(call) for call in calls}
        self.submitted = [call for call in self.submitted if id(call) not in gone]
        self.attached = [call for call in self.attached if id(call) not in gone]
