"""`approval`: waits, for as long as it takes, until a person approves or rejects."""

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from engine import limits
from engine.errors import Invalid
from engine.model import Ask, AwaitSignal, Outcome, TaskCall
from engine.schemas import compile_schema
from engine.task_ports import NodeContext, Shape
from engine.verdicts import KIND, ApprovalRequest, Verdict

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.NAME)]
Names = Name | tuple[Name, ...]
Text = Annotated[str, msgspec.Meta(max_length=limits.DESCRIPTION)]
OnTimeout = Literal["fail", "approve", "reject"]


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked (`title`, `message`, `details`: anything that helps to decide) of whom (`approvers`, `roles`).

    `form` is the JSON Schema of the data that an approval must bring. `timeout` is in seconds, else that of
    the task; without one the wait has no end. `require_comment`: true, false, or `on_reject`.
    """

    title: Annotated[str, msgspec.Meta(max_length=limits.NAME)] | None = None
    message: Text | None = None
    details: Any = None
    approvers: Names = ()
    roles: Names = ()
    form: dict[str, Any] | None = None
    require_comment: bool | Literal["on_reject"] = False
    timeout: Annotated[float, msgspec.Meta(gt=0, le=limits.DURATION)] | None = None
    on_timeout: OnTimeout = "fail"
    on_reject: Literal["fail", "continue"] = "fail"

    def __post_init__(self) -> None:
        if self.form is not None:
            try:
                compile_schema(self.form)
            except Invalid as error:
                raise ValueError(f"form: {error.message}") from None


class ApprovalNode:
    """Asks people and holds no slot and no memory meanwhile. The first decision counts.

    Output: `{"decision", "by", "comment", "data", "timed_out"}`. The label is `approved` or `rejected`: edges with
    that label are followed, and those without one. A rejection that no edge is labelled for fails the task with type
    `rejected`, unless `on_reject` is `continue`. After `timeout` the task fails with type `timeout`, or `on_timeout`
    counts as a decision.
    """

    type: ClassVar[str] = "approval"
    aliases: ClassVar[tuple[str, ...]] = ("human_approval", "manual_approval", "wait_for_approval")
    spellings: ClassVar[dict[str, str]] = {
        "approver": "approvers",
        "assignee": "approvers",
        "assignees": "approvers",
        "user": "approvers",
        "users": "approvers",
        "to_user": "approvers",
        "to_users": "approvers",
        "role": "roles",
        "to_role": "roles",
        "to_roles": "roles",
        "approver_role": "roles",
        "approver_roles": "roles",
        "form_schema": "form",
        "schema": "form",
        "description": "message",
        "prompt": "message",
        "subject": "title",
        "data": "details",
        "timeout_seconds": "timeout",
        "comment_required": "require_comment",
    }
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        return self.rehearse(call, config)

    def rehearse(self, call: TaskCall, config: Config) -> Outcome:
        request = ApprovalRequest(
            config.title,
            config.message,
            config.details,
            _names(config.approvers),
            _names(config.roles),
            config.form,
            config.require_comment,
            config.on_reject,
        )
        ask = Ask(KIND, f"waits for approval by {request.who()}", details=msgspec.to_builtins(request))
        silence = {"approve": Verdict.APPROVED, "reject": Verdict.REJECTED}.get(config.on_timeout)
        otherwise = None if silence is None else request.silence(silence)
        return AwaitSignal(timeout=config.timeout or call.timeout, ask=ask, otherwise=otherwise)


def _names(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


handler = ApprovalNode()
