"""Approvals as use cases: listed, looked at, and decided, once."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import msgspec

from engine import limits
from engine.clock import rfc3339
from engine.documents import check_payload, check_value
from engine.errors import AlreadyDecided, AlreadyEnded, ApprovalNotFound, Invalid
from engine.failpoints import hit
from engine.model import DEFAULT_NAMESPACE, Record
from engine.states import is_terminal
from engine.verdicts import KIND, ApprovalRequest, Verdict
from engine.views import Views
from engine.waits import Decision, Lapse, Wait, WaitFilter, WaitStore

Status = Literal["pending", "approved", "rejected", "timeout", "closed"]
"""How an approval stands; `closed`: its execution ended before anybody decided."""
STATUSES: tuple[Status, ...] = get_args(Status)


class Approval(Record, frozen=True, omit_defaults=False):
    """What is asked, and how it stands."""

    wait: Wait
    request: ApprovalRequest

    @property
    def status(self) -> Status:
        status: Status = msgspec.convert(self.wait.decision or "pending", Status)
        return status


class Approvals:
    """Of this installation. `told` is called with the executions whose inbox has got an answer."""

    def __init__(self, store: WaitStore, views: Views, told: Callable[[Sequence[int]], None]) -> None:
        self._store = store
        self._views = views
        self._told = told

    async def page(self, status: str | None = None, before: int | None = None, limit: int = 100) -> list[Approval]:
        """Newest first; those with an id below `before`. Raises `Invalid`."""
        if not 1 <= limit <= limits.PAGE:
            raise Invalid(f"limit is between 1 and {limits.PAGE}", pointer="/limit")
        if status is not None and status not in STATUSES:
            raise Invalid(f"status is one of {', '.join(STATUSES)}", pointer="/status", code="enum")
        where = _where(pending=True) if status == "pending" else _where(decision=status)
        return await self._find(where, before, limit)

    async def of_execution(self, execution_id: int) -> list[Approval]:
        """The newest `limits.PAGE` of them. Raises `ExecutionNotFound`."""
        found = await self._find(_where(execution_id=execution_id), None, limits.PAGE)
        if not found:
            await self._views.get(execution_id)
        return found

    async def get(self, approval_id: int) -> Approval:
        """Raises `ApprovalNotFound`."""
        found = await self._find(_where(id=approval_id), None, 1)
        if not found:
            raise ApprovalNotFound(f"there is no approval {approval_id}; list them with GET /approvals")
        return found[0]

    async def of_task(self, execution_id: int, task: str | None) -> Approval:
        """That of a task, by its address; None: the only one of the execution that is pending.

        Raises `ExecutionNotFound`, `ApprovalNotFound`, `AlreadyEnded`, `Invalid` if several are pending.
        """
        if task is not None:
            check_value({"task": task})
            found = await self._find(_where(execution_id=execution_id, task=task), None, 1)
        else:
            found = await self._find(_where(execution_id=execution_id, pending=True), None, 2)
        if len(found) == 1:
            return found[0]
        if found:
            raise Invalid(f"execution {execution_id} waits for several approvals; say of which task", pointer="/task")
        view = await self._views.get(execution_id)
        if is_terminal(view.status):
            raise AlreadyEnded.of(execution_id, view.status)
        which = "no task" if task is None else f"no task {task!r:.100}"
        raise ApprovalNotFound(f"{which} of execution {execution_id} waits for an approval; it is {view.status}")

    async def decide(
        self, approval: Approval, verdict: Verdict, by: str | None = None, comment: str | None = None, data: Any = None
    ) -> Approval:
        """Durable on return. Raises `AlreadyDecided`, `AlreadyEnded`, `Invalid` with all faults of the decision."""
        _refuse_late(approval)
        check_payload({"by": by, "comment": comment, "data": data}, "decision")
        _check_length(by, 1, limits.NAME, "/by")
        _check_length(comment, 0, limits.DESCRIPTION, "/comment")
        faults = approval.request.faults(verdict, by, comment, data)
        if faults:
            raise Invalid(faults[0].message, faults=faults)
        wait = approval.wait
        answer = approval.request.answer(verdict, by, comment, data)
        hit("signal.before")
        (won,) = await self._store.decide_waits(
            [Decision(wait.execution_id, wait.task, verdict.value, answer, by, comment)]
        )
        hit("signal.after")
        if won:
            self._told([wait.execution_id])
        decided = await self.get(wait.id)
        if not won:
            _refuse_late(decided)
            await self._refuse_ended(wait.execution_id)
        return decided

    async def _refuse_ended(self, execution_id: int) -> None:
        view = await self._views.get(execution_id)
        raise AlreadyEnded.of(execution_id, view.status)

    async def _find(self, where: WaitFilter, before: int | None, limit: int) -> list[Approval]:
        waits = await self._store.list_waits(where, before, limit)
        return [Approval(wait, msgspec.convert(wait.details, ApprovalRequest)) for wait in waits]


def _where(**fields: Any) -> WaitFilter:
    return WaitFilter(DEFAULT_NAMESPACE, KIND, **fields)


def _check_length(text: str | None, least: int, most: int, where: str) -> None:
    if text is not None and not least <= len(text) <= most:
        raise Invalid(f"it has {least} to {most} characters", pointer=where)


def _refuse_late(approval: Approval) -> None:
    wait = approval.wait
    if wait.decided_at is None:
        return
    what, at = f"the approval of task {wait.task!r} of execution {wait.execution_id}", rfc3339(wait.decided_at)
    match wait.decision:
        case Lapse.CLOSED:
            raise AlreadyEnded(f"{what} was closed at {at}: the execution has ended or is ending")
        case Lapse.TIMEOUT:
            raise AlreadyDecided(f"{what} was decided by its time-out at {at}")
        case decision:
            raise AlreadyDecided(f"{what} was {decision} by {wait.decided_by or 'somebody'} at {at}")
