"""`start`: where a graph begins. Its output is its config."""

from typing import ClassVar

import msgspec

from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import NodeContext, Shape


class Config(msgspec.Struct):
    """Any fields."""


class Start:
    """Marks the beginning; does nothing."""

    type: ClassVar[str] = "start"
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        return self.rehearse(call, config)

    def rehearse(self, call: TaskCall, config: Config) -> Outcome:
        return Completed(call.config)


handler = Start()
