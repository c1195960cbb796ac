"""`set`: its rendered config is its output — templates to values."""

from typing import ClassVar

import msgspec

from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import NodeContext, Shape


class Config(msgspec.Struct):
    """Any fields."""


class Set:
    """Names values for the tasks that follow."""

    type: ClassVar[str] = "set"
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        return self.rehearse(call, config)

    def rehearse(self, call: TaskCall, config: Config) -> Outcome:
        return Completed(call.config)


handler = Set()
