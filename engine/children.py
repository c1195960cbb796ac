"""Child executions, in the words of a run: how one starts, what its end says to its parent, how it is let go. Pure.

A child's row is in the commit that says `ChildStarted`; its last commit carries a signal for its parent; the commit
in which a parent's task stops waiting carries a cancel for the child. So whoever dies, there is one child, and its
end is told.
"""

from typing import Any

import msgspec

from engine import events as ev
from engine import limits
from engine.documents import check_payload
from engine.errors import MillraceError, TaskError
from engine.model import DEFAULT_NAMESPACE, Failure, Parent, Record
from engine.ports import Append, NewExecution, Signal
from engine.state import State
from engine.states import ExecutionStatus

CHILD = "child"
"""The kind of the signal that tells a parent of an end."""


class Opening(Record, frozen=True):
    """A child that can be started: its id is reserved, its version pinned."""

    execution_id: int
    workflow_id: int
    version_id: int
    input: Any = None
    wait: bool = True
    labels: dict[str, str] = {}


class ChildEnd(Record, frozen=True):
    """What a child's end says to its parent: `output` if it completed, else `error` (None: it was cancelled)."""

    execution_id: int
    status: ExecutionStatus
    output: Any = None
    error: Failure | None = None

    def failure(self, task: str) -> Failure | None:
        """Why the task of the parent that waited for it fails; None: it does not."""
        if self.status is ExecutionStatus.COMPLETED and self.error is None:
            return None
        if self.status is ExecutionStatus.CANCELLED:
            return Failure("child_cancelled", f"the child execution {self.execution_id} was cancelled", task)
        why = "" if self.error is None else f": {self.error.type}: {self.error.message}"
        return Failure("child_failed", f"the child execution {self.execution_id} failed{why}", task)


_encode = msgspec.json.Encoder().encode
decode_end = msgspec.json.Decoder(ChildEnd).decode


def child_of(state: State, opening: Opening) -> Append:
    """The start of a child of this execution, for any engine to take.

    Raises `TaskError`, not retryable, if executions are nested too deep: they might call each other without end.
    """
    above = state.parent
    depth = 1 if above is None else above.depth + 1
    if depth > limits.DEPTH_OF_CHILDREN:
        message = f"executions are nested {limits.DEPTH_OF_CHILDREN} deep at most; do these workflows call each other?"
        raise TaskError(message, type="child_depth", retryable=False)
    parent = Parent(
        state.execution_id, state.execution_id if above is None else above.root_id, depth, waits=opening.wait
    )
    start = NewExecution(
        DEFAULT_NAMESPACE,
        opening.workflow_id,
        opening.version_id,
        ExecutionStatus.PENDING,
        owned=False,
        labels=opening.labels,
        parent_id=parent.execution_id,
        root_id=parent.root_id,
    )
    event = ev.encode(ev.ExecutionStarted(opening.input, state.depth, parent))
    return Append(opening.execution_id, 1, (event,), start)


def told_parent(state: State) -> tuple[Signal, ...]:
    """What this execution's end says to its parent, if one waits for it."""
    parent = state.parent
    if parent is None or not parent.waits:
        return ()
    number = state.execution_id
    end = ChildEnd(number, state.status, error=state.error)
    if state.status is ExecutionStatus.COMPLETED:
        output = state.output()
        try:
            check_payload(output, "output")
        except MillraceError as error:
            end = ChildEnd(number, state.status, error=Failure("output_too_large", error.message))
        else:
            end = ChildEnd(number, state.status, output)
    return (Signal(parent.execution_id, CHILD, CHILD, _encode(end), f"child:{number}"),)


def let_go(state: State, key: str) -> tuple[Signal, ...]:
    """What cancels the child for which this task waits, if it does: nobody will wait for it any more."""
    child = state.tasks[key].child
    if child not in state.children:
        return ()
    reason = f"nothing waits for it any more in execution {state.execution_id}, which started it"
    return (Signal(child, "cancel", "cancel", _encode(reason), "cancel"),)
