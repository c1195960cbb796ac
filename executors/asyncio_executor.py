"""Runs calls in the engine's own process and loop: the executor of the embedded set-up."""

from collections.abc import Sequence
from typing import ClassVar

from engine.model import TaskCall
from engine.task_ports import ExecutorOptions, Report
from executors._attempts import Attempts


class AsyncioExecutor:
    """Its calls die with their engine, so that none is known after a take-over."""

    name: ClassVar[str] = "asyncio"
    outlives: ClassVar[bool] = False

    def __init__(self, options: ExecutorOptions) -> None:
        self._options = options
        self._attempts: Attempts | None = None

    async def start(self, report: Report) -> None:
        self._attempts = Attempts(self._options.host, report, self._options.threads)

    async def stop(self) -> None:
        if self._attempts is not None:
            await self._attempts.stop()

    def attach(self, calls: Sequence[TaskCall]) -> Sequence[TaskCall]:
        return ()

    def submit(self, calls: Sequence[TaskCall]) -> None:
        assert self._attempts is not None, "start comes first"
        self._attempts.submit(calls)

    def cancel(self, calls: Sequence[TaskCall]) -> None:
        assert self._attempts is not None, "start comes first"
        self._attempts.cancel(calls)

    def detach(self, calls: Sequence[TaskCall]) -> None:
        self.cancel(calls)


open_executor = AsyncioExecutor
