"""The journal's vocabulary: a closed union of events, and their stored form.

An event holds what is needed to fold and nothing that can be derived: no rendered configs, no copies of outputs.
Stored as `(execution_id, seq, type, v, at, lease, data)`, where `data` is the JSON of the fields (defaults
omitted) and `type` the class name. A new release that changes a shape raises `FORMAT` and adds an upcaster here.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from engine.model import Answer, Failure, Parent, Record, Usage
from engine.received import NewReceived


class ExecutionStarted(Record, frozen=True):
    """Always `seq` 1. `depth` counts the events from outside that led to it: see `engine.received`."""

    input: Any = None
    depth: int = 0
    parent: Parent | None = None


class TakenOver(Record, frozen=True):
    """Another lease goes on with this execution; attempts that ran inside the old process are lost, and suspect."""

    lost: tuple[str, ...] = ()


class TaskScheduled(Record, frozen=True):
    """The task may start and waits for a slot. Left out when a slot is free: `TaskStarted` says both."""

    task: str


class TaskStarted(Record, frozen=True):
    """Attempt `attempt` holds a slot; written before its first effect."""

    task: str
    attempt: int = 1


class TaskCompleted(Record, frozen=True):
    """`elapsed` is seconds of the attempt by the worker's monotonic clock; `usage` what it spent on models."""

    task: str
    output: Any = None
    label: str | None = None
    elapsed: float = 0.0
    usage: Usage | None = None


class TaskFailed(Record, frozen=True):
    """An attempt failed; the next one is due `retry_in` seconds after this event, or never (None).

    `usage` is what it spent on models all the same.
    """

    task: str
    error: Failure
    retry_in: float | None = None
    elapsed: float = 0.0
    usage: Usage | None = None


class TaskLost(Record, frozen=True):
    """An attempt ended with its process, or its call with a server; the task is scheduled again.

    `suspect`: the process died, perhaps of this task. Two such losses, and the task runs alone.
    """

    task: str
    reason: str
    suspect: bool = True


class TaskSleeping(Record, frozen=True):
    """The task completes with `output`, `seconds` after this event or at `until`."""

    task: str
    seconds: float = 0.0
    until: float | None = None
    output: Any = None


class TaskAwaiting(Record, frozen=True):
    """The task waits for the signal `name`; `timeout` seconds after this event it ends as `otherwise` says, or fails.

    With a `kind` the wait is one that the world can see (`engine.waits`), and what comes is an `Answer`.
    """

    task: str
    name: str
    timeout: float | None = None
    kind: str | None = None
    reason: str | None = None
    otherwise: Answer | None = None


class TaskFannedOut(Record, frozen=True):
    """The task runs another one `count` times: see `engine.bodies`. What that puts out is not repeated when it ends.

    The events of the runs carry their addresses: `m[17]`. More than `tolerated` failures of them fail the task.
    """

    task: str
    count: int
    max_parallel: int = 1
    tolerated: int = 0
    elapsed: float = 0.0


class ChildStarted(Record, frozen=True):
    """The task started a child execution, whose row is in the same commit.

    With `wait` it waits for the child's end, at most `timeout` seconds after this event; else it has completed.
    """

    task: str
    execution_id: int
    wait: bool = True
    timeout: float | None = None


class TaskSkipped(Record, frozen=True):
    """`reason` is `not_taken` (skipping passes on) or `when` (outgoing edges count as taken)."""

    task: str
    reason: str = "not_taken"


class TaskCancelled(Record, frozen=True):
    """The task was open when its execution failed or was cancelled."""

    task: str


class SignalReceived(Record, frozen=True):
    """The owner took a signal from the inbox into the journal."""

    name: str
    payload: Any = None
    signal_id: int = 0
    dedupe_key: str | None = None


class BudgetRaised(Record, frozen=True):
    """Somebody allowed the models of this execution so much more; the task that asked for it begins again."""

    task: str
    cost: float | None = None
    tokens: int | None = None


class CancelRequested(Record, frozen=True):
    """From this record on no task starts."""

    reason: str | None = None


class CompensationStarted(Record, frozen=True):
    """It will end with `error`, or (None) be cancelled: from here on only compensations run, and then it has ended.

    They are tasks of their own, `<key>~compensate`.
    """

    error: Failure | None = None


class ExecutionCompleted(Record, frozen=True):
    """Every task has ended."""


class ExecutionFailed(Record, frozen=True):
    """A task failed and nothing handled it; the error tells of compensations that failed, too."""

    error: Failure


class ExecutionCancelled(Record, frozen=True):
    """Somebody cancelled it; `error` tells of compensations that failed."""

    reason: str | None = None
    error: Failure | None = None


Event = (
    ExecutionStarted
    | TakenOver
    | TaskScheduled
    | TaskStarted
    | TaskCompleted
    | TaskFailed
    | TaskLost
    | TaskSleeping
    | TaskAwaiting
    | TaskFannedOut
    | ChildStarted
    | TaskSkipped
    | TaskCancelled
    | SignalReceived
    | BudgetRaised
    | CancelRequested
    | CompensationStarted
    | ExecutionCompleted
    | ExecutionFailed
    | ExecutionCancelled
)

TERMINAL_EVENTS = (ExecutionCompleted, ExecutionFailed, ExecutionCancelled)


class EventRecord(msgspec.Struct, frozen=True):
    """An event to be appended, encoded once: its type and its JSON. `publishes` is stored in the same commit."""

    type: str
    data: bytes
    publishes: tuple[NewReceived, ...] = ()


class StoredEvent(msgspec.Struct, frozen=True):
    """An event as read from the journal. `at` is the database's clock at commit, `lease` the fencing token."""

    execution_id: int
    seq: int
    type: str
    v: int
    at: float
    lease: int | None
    data: bytes


_encode = msgspec.json.Encoder().encode
_decoders: Mapping[str, msgspec.json.Decoder[Any]] = {cls.__name__: msgspec.json.Decoder(cls) for cls in Event.__args__}


def encode(event: Event) -> EventRecord:
    """The stored form of `event`."""
    return EventRecord(event.__class__.__name__, _encode(event))


def decode(stored: StoredEvent) -> Event:
    """The event in `stored`. Raises `msgspec.ValidationError` or `KeyError` for a journal we cannot read."""
    event: Event = _decoders[stored.type].decode(stored.data)
    return event
