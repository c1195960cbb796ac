"""`loop`: runs one task again and again, under a guard."""

from typing import Annotated, ClassVar

import msgspec

from engine import limits
from engine.bodies import Body, Guard
from engine.model import FanOut, Outcome, TaskCall
from engine.task_ports import NodeContext, Shape


class Config(msgspec.Struct, forbid_unknown_fields=True, rename={"while_": "while"}):
    """`task` is run round after round, its templates with `round` (from 1) and `last`, the output of the round before.

    Either `while`, which is asked before each round, or `until`, which is asked after each; at most `max_rounds`.
    """

    task: Body
    while_: Guard = None
    until: Guard = None
    max_rounds: Annotated[int, msgspec.Meta(ge=1, le=limits.ITEMS)] = 1000

    def __post_init__(self) -> None:
        if (self.while_ is None) == (self.until is None):
            raise ValueError("a loop has either `while` or `until`")


class Loop:
    """Runs a task until a condition holds, or while it does; a round that has completed never runs again.

    Output: `{"last": the output of the last round, "rounds": how many there were}`. It fails when a round does, and
    with `max_rounds` when the condition asks for more rounds than that.
    """

    type: ClassVar[str] = "loop"
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        return FanOut(config.max_rounds)


handler = Loop()
