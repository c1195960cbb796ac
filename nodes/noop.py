"""`noop`: takes `duration` seconds of a slot and returns its parameters. The type of a task without one."""

import asyncio
from collections.abc import Awaitable
from typing import Annotated, ClassVar

import msgspec

from engine import limits
from engine.model import Completed, Outcome, Sleep, TaskCall
from engine.task_ports import NodeContext, Shape


class Config(msgspec.Struct):
    """Any other parameter is allowed and returned."""

    duration: Annotated[float, msgspec.Meta(ge=0, le=limits.DURATION)] = 0.0


class Noop:
    """Simulated work."""

    type: ClassVar[str] = "noop"
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome | Awaitable[Outcome]:
        if config.duration:
            return self._work(call, config.duration)
        return Completed(call.config)

    def rehearse(self, call: TaskCall, config: Config) -> Outcome:
        return Sleep(config.duration, output=call.config) if config.duration else Completed(call.config)

    async def _work(self, call: TaskCall, duration: float) -> Outcome:
        await asyncio.sleep(duration)
        return Completed(call.config)


handler = Noop()
