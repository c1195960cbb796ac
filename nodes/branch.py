"""`branch`: the first case that holds says where to go."""

from typing import Annotated, ClassVar

import msgspec

from engine import limits
from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import Condition, NodeContext, Shape

Label = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.NAME)]
Cases = Annotated[tuple["Case", ...], msgspec.Meta(min_length=1, max_length=1000)]


class Case(msgspec.Struct, forbid_unknown_fields=True, rename={"otherwise": "else"}):
    """`label` chooses among the labelled edges; without one `next` is the label. `else` is the last resort."""

    condition: Condition | None = None
    label: Label | None = None
    next: Label | None = None
    otherwise: bool = False

    def __post_init__(self) -> None:
        if self.otherwise == (self.condition is not None):
            raise ValueError("a case has either a condition or `else: true`")


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """Cases in order, at most one of them `else`."""

    cases: Cases

    def __post_init__(self) -> None:
        if sum(case.otherwise for case in self.cases) > 1:
            raise ValueError("cases: one `else` at the most")


class Branch:
    """Takes the edges whose label is that of the first case that holds, and those without a label.

    Output: `{"label", "case"}`, `case` from 1; both null if no case holds and there is no `else`.
    """

    type: ClassVar[str] = "branch"
    aliases: ClassVar[tuple[str, ...]] = ("switch",)
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        return self.rehearse(call, config)

    def rehearse(self, call: TaskCall, config: Config) -> Outcome:
        holding = [number for number, case in enumerate(config.cases, 1) if case.condition]
        holding += [number for number, case in enumerate(config.cases, 1) if case.otherwise]
        if not holding:
            return Completed({"label": None, "case": None})
        case = config.cases[holding[0] - 1]
        label = case.label or case.next or ("else" if case.otherwise else f"case_{holding[0]}")
        return Completed({"label": label, "case": holding[0]}, label)


handler = Branch()
