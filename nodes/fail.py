"""`fail`: ends with an error on purpose, such as on the branch that should not be taken."""

from typing import Annotated, ClassVar, NoReturn

import msgspec

from engine import limits
from engine.errors import TaskError
from engine.model import TaskCall
from engine.task_ports import NodeContext, Shape


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """`error_type` is what `non_retryable` of a retry policy compares. Not tried again unless `retryable`."""

    message: Annotated[str, msgspec.Meta(max_length=limits.DESCRIPTION)] = "the workflow says so"
    error_type: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.NAME)] = "failed"
    retryable: bool = False


class Fail:
    """Fails the task with a message of your own."""

    type: ClassVar[str] = "fail"
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> NoReturn:
        self.rehearse(call, config)

    def rehearse(self, call: TaskCall, config: Config) -> NoReturn:
        raise TaskError(config.message, type=config.error_type, retryable=config.retryable)


handler = Fail()
