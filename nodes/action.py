"""`action`: work that is stored under a name; a step refers to it. No action is stored yet."""

from typing import Any, ClassVar

import msgspec

from engine.errors import TaskError
from engine.model import Outcome, TaskCall
from engine.task_ports import NodeContext, Shape


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """Which action; `config` is merged with its own."""

    action: str
    config: dict[str, Any] = {}


class Action:
    """Fails: a name that nobody has defined cannot be carried out."""

    type: ClassVar[str] = "action"
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        raise TaskError(f"there is no action {config.action!r}", type="unknown_action", retryable=False)


handler = Action()
