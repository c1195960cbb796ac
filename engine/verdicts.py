"""What a person is asked, what may be answered, and what the waiting task makes of it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec

from engine import limits
from engine.errors import Fault
from engine.model import Answer, Budget, Failure, Record
from engine.schemas import compile_schema

KIND = "approval"
"""The kind of these waits."""


class Verdict(StrEnum):
    """What somebody can decide; also the label of the edges that are then followed."""

    APPROVED = "approved"
    REJECTED = "rejected"


class ApprovalRequest(Record, frozen=True):
    """What is asked of whom. Without `approvers` and `roles`: anybody may decide.

    `form` is the JSON Schema of the data that an approval brings; `details` is what people need to see to decide.
    `for_budget`: the data are the `cost` and `tokens` that the models of the execution may take beside their budget.
    """

    title: str | None = None
    message: str | None = None
    details: Any = None
    approvers: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    form: dict[str, Any] | None = None
    require_comment: bool | Literal["on_reject"] = False
    on_reject: Literal["fail", "continue"] = "fail"
    for_budget: bool = False

    def who(self) -> str:
        """In words."""
        names = [*self.approvers, *(f"the role {role}" for role in self.roles)]
        return ", ".join(names[:-1]) + " or " + names[-1] if len(names) > 1 else names[0] if names else "anybody"

    def faults(self, verdict: Verdict, by: str | None, comment: str | None, data: Any) -> list[Fault]:
        """What is wrong with a decision. Who has a role is not known here, so with roles anybody may decide."""
        faults = []
        if self.approvers and not self.roles and by not in self.approvers:
            other = "say who decides" if by is None else f"not for {by!r:.100}"
            faults.append(Fault(f"it is for {self.who()} to decide: {other}", "/by", "not_an_approver"))
        rejects = verdict is Verdict.REJECTED
        if not (comment or "").strip() and (self.require_comment is True or (rejects and self.require_comment)):
            faults.append(Fault("say why: this approval needs a comment", "/comment", "required"))
        if self.form is not None and not (rejects and data is None):
            found = compile_schema(self.form)({} if data is None else data)
            faults += [Fault(fault.message, "/data" + fault.pointer, fault.code) for fault in found]
        return faults

    def answer(self, verdict: Verdict, by: str | None = None, comment: str | None = None, data: Any = None) -> Answer:
        """What the task gets."""
        output = {"decision": verdict.value, "by": by, "comment": comment, "data": data, "timed_out": False}
        whom = "" if by is None else f" by {by}"
        if self.for_budget and verdict is Verdict.APPROVED:
            return Answer(output, verdict.value, raised=_raised(data))
        return self._answer(verdict, output, f"rejected{whom}" + (f": {comment}" if comment else ""))

    def silence(self, verdict: Verdict) -> Answer:
        """What the task gets when nobody has decided in time and that counts as `verdict`."""
        output = {"decision": verdict.value, "by": None, "comment": None, "data": None, "timed_out": True}
        return self._answer(verdict, output, f"rejected: {self.who()} did not decide in time")

    def _answer(self, verdict: Verdict, output: Mapping[str, Any], message: str) -> Answer:
        fails = verdict is Verdict.REJECTED and self.on_reject == "fail"
        kind = "budget_exceeded" if self.for_budget else "rejected"
        return Answer(dict(output), verdict.value, Failure(kind, message) if fails else None)


def more_budget(message: str, budget: Budget, needed: Budget) -> ApprovalRequest:
    """Asks for what a task lacks: `needed`, of which `budget` is there. The form says what it takes at the least."""
    lacking = {
        "cost": _lack(budget.cost, needed.cost, 1e-9, limits.COST, "number"),
        "tokens": _lack(budget.tokens, needed.tokens, 1, limits.TOKENS, "integer"),
    }
    fields = {name: schema for name, (schema, _) in lacking.items() if schema}
    form = {
        "type": "object",
        "properties": fields,
        "required": [name for name in fields if lacking[name][1]],
        "minProperties": 1,
        "additionalProperties": False,
    }
    details = {"left": msgspec.to_builtins(budget), "needed": msgspec.to_builtins(needed)}
    return ApprovalRequest("More budget", message, details, form=form, for_budget=True)


def _raised(data: Mapping[str, Any]) -> Budget:
    """To JSON Schema `5000.0` is an integer; to a budget it is none."""
    cost, tokens = data.get("cost"), data.get("tokens")
    return Budget(None if cost is None else float(cost), None if tokens is None else int(tokens))


def _lack(
    left: float | None, needed: float | None, least: float, most: float, kind: str
) -> tuple[dict[str, Any], bool]:
    """The schema of what is given of one of the two, empty if it has no bound; and whether it must be given."""
    if left is None or needed is None:
        return {}, False
    lack = round(needed - left, 9)
    return {"type": kind, "minimum": max(lack, least), "maximum": most}, lack > 0
