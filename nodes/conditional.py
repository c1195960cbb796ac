"""`conditional`: one condition, two ways."""

from typing import Annotated, ClassVar

import msgspec

from engine import limits
from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import Condition, NodeContext, Shape

Label = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.NAME)]


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """The labels of the two ways are `true` and `false`, unless they are given."""

    condition: Condition
    true_edge: Label = "true"
    false_edge: Label = "false"


class Conditional:
    """Takes the edges with the label of its outcome, and those without a label.

    Output: `{"result": true or false}`.
    """

    type: ClassVar[str] = "conditional"
    aliases: ClassVar[tuple[str, ...]] = ("condition", "if")
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        return self.rehearse(call, config)

    def rehearse(self, call: TaskCall, config: Config) -> Outcome:
        return Completed({"result": config.condition}, config.true_edge if config.condition else config.false_edge)


handler = Conditional()
