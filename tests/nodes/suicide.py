"""`suicide`: kills its own process, as a crash in native code or the kernel's memory killer would."""

import os
import signal
from typing import ClassVar

import msgspec

from engine.model import Outcome, TaskCall
from engine.task_ports import NodeContext, Shape


class Config(msgspec.Struct):
    """Nothing to say."""


class Suicide:
    """No attempt of it ever ends by itself."""

    type: ClassVar[str] = "suicide"
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("nobody reads this")


handler = Suicide()
