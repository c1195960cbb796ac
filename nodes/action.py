"""`action`: work that is stored under a name; a task refers to it, and a version has it merged in."""

from typing import Annotated, Any, ClassVar

import msgspec

from engine.errors import TaskError
from engine.model import Outcome, TaskCall
from engine.task_ports import SECRETS, NodeContext, Shape, Verbatim


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """Which action; `config` is merged with its own."""

    action: Annotated[Verbatim, msgspec.Meta(min_length=1, max_length=200)]
    config: Annotated[dict[str, Any], SECRETS] = {}


class Action:
    """Work that is stored under a name: see `POST /actions`.

    Where the action exists a version has its node type and config in this place. One that does not exist fails with
    `unknown_action`; when it has been created, the next execution does what it says.
    """

    type: ClassVar[str] = "action"
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        return self.rehearse(call, config)

    def rehearse(self, call: TaskCall, config: Config) -> Outcome:
        message = f"there was no action {config.action!r:.100} when this began; create it with POST /actions"
        raise TaskError(message, type="unknown_action", retryable=False)


handler = Action()
