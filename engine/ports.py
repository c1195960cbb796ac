"""What the engine asks of stores; of executors and nodes see `engine.task_ports`, of dialects `engine.dialect_ports`.

Records in, records out: no table name, URL or ORM row crosses a port. Every method may raise
`engine.errors.StoreUnavailable` when its server does not answer; other errors are named where they occur.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import msgspec

from engine import limits
from engine.actions import ActionStore, ReadActions
from engine.events import EventRecord, StoredEvent
from engine.model import (
    Budget,
    Compensation,
    ExecutionRow,
    Record,
    Resources,
    RetryPolicy,
    Workflow,
    WorkflowVersion,
)
from engine.outbox import OutboxStore
from engine.received import EventStore, TriggerSpec
from engine.secrets import SecretStore
from engine.states import ExecutionStatus, SlotStage
from engine.waits import NewWait, WaitLapse, WaitStore

WHOLE_HISTORY = limits.WHOLE_HISTORY

# --- what crosses the store port ------------------------------------------------------------------


class NewExecution(Record, frozen=True):
    """The row of an execution to be started.

    `owned` starts it under the committing lease; otherwise it is parked with `wake_at = now()` for any engine.
    With an `idempotency_key`, (namespace, workflow_id, key) is claimed first; `request_digest` tells requests apart.
    `depth` is said in its first event: see `engine.received`.
    """

    namespace: str
    workflow_id: int
    version_id: int
    status: ExecutionStatus
    owned: bool
    idempotency_key: str | None = None
    request_digest: bytes = b""
    labels: dict[str, str] = {}
    priority: int = 0
    queue: str = "default"
    parent_id: int | None = None
    root_id: int | None = None
    rerun_of: int | None = None
    depth: int = 0


class Park(Record, frozen=True):
    """Give the execution up (`owner = NULL`); it is due at the earlier of the two, never if both are None.

    `wake_in` is seconds after the commit, computed by the database; `wake_at` is absolute (epoch seconds).
    `for_slots`: its tasks stand in line for slots of pools; if one of them holds its slots by now, it is due at once.
    """

    wake_in: float | None = None
    wake_at: float | None = None
    for_slots: bool = False


class Append(Record, frozen=True):
    """What one execution has to say in one commit: contiguous events from `first_seq`, and its row's changes.

    `status` None leaves the row alone. A terminal `status` also sets `ended_at` and frees the owner.
    `started` sets `started_at` (first time an engine plans it). `consumed` are ids of signals now in the journal.
    `freed` are tasks that give their slots of pools, or their place in line, back with this commit.
    `asks` are waits that the world can see from now on, `lapses` those that nobody can decide any more.
    `children` are starts that take place with it, `signals` what it tells other executions, as `put_signals` would.
    """

    execution_id: int
    first_seq: int
    events: tuple[EventRecord, ...] = ()
    start: NewExecution | None = None
    status: ExecutionStatus | None = None
    started: bool = False
    park: Park | None = None
    consumed: tuple[int, ...] = ()
    freed: tuple[str, ...] = ()
    asks: tuple[NewWait, ...] = ()
    lapses: tuple[WaitLapse, ...] = ()
    children: tuple["Append", ...] = ()
    signals: tuple["Signal", ...] = ()


class Duplicate(Record, frozen=True):
    """A start whose idempotency key was taken: by which execution, made by which request."""

    execution_id: int
    request_digest: bytes


class Committed(Record, frozen=True):
    """`at` is the database's clock of the commit; `duplicates` are the starts that were not made, by their id."""

    at: float
    duplicates: dict[int, Duplicate] = {}


class Claims(Record, frozen=True):
    """Executions now owned by the claiming lease, and the database's clock."""

    now: float
    executions: tuple[ExecutionRow, ...] = ()


class Signal(Record, frozen=True):
    """Something the owner of an execution must take into its journal. `id` is set by the store.

    `kind` is `cancel`, `event`, `answer` (of a wait) or `child` (an end); `dedupe_key`: once per execution.
    """

    execution_id: int
    kind: str
    name: str = ""
    payload: bytes = b"null"
    dedupe_key: str | None = None
    id: int = 0


class SlotPool(NamedTuple):
    """What `concurrency_key` text of a workflow shares, and the workflow's own bound; `key` None: that bound alone."""

    workflow_id: int
    key: str | None


class PoolSlot(Record, frozen=True, omit_defaults=False):
    """A task that needs slots of pools: of its `key`, at most `key_limit` at once, and of its workflow.

    No `key`, or no `workflow_limit`: that one is not bounded. As an ask, `HELD` says that its attempt runs already.
    """

    execution_id: int
    task: str
    workflow_id: int
    key: str | None
    key_limit: int
    workflow_limit: int | None
    stage: SlotStage

    @property
    def pool(self) -> SlotPool:
        return SlotPool(self.workflow_id, self.key)


class SlotGrant(Record, frozen=True):
    """A task that holds its slots now, and the lease that owns its execution (None: parked, and due at once)."""

    execution_id: int
    task: str
    owner: int | None


class Cursor(Record, frozen=True):
    """The place after which a page goes on: keyset on (created_at, id), newest first."""

    created_at: float
    id: int


class ExecutionFilter(Record, frozen=True):
    """Which executions a list shows; None means any. Times bound `created_at` (from inclusive, to exclusive)."""

    namespace: str
    workflow_id: int | None = None
    statuses: tuple[ExecutionStatus, ...] = ()
    created_from: float | None = None
    created_to: float | None = None
    parent_id: int | None = None


class NewWorkflow(Record, frozen=True):
    """A workflow to be created. `triggers` are those of its document."""

    namespace: str
    name: str
    key: str | None = None
    description: str | None = None
    dialect: str = "ordered_tasks"
    source: bytes | None = None
    max_concurrency: int | None = None
    timeout: float | None = None
    triggers: tuple[TriggerSpec, ...] = ()
    budget: Budget | None = None


class NewTask(Record, frozen=True):
    """A task to be added to the draft. `order` None means after the last; `key` None lets the store make one.

    A made key is `task_<n>`, n from 1, the first that is free.
    """

    name: str
    key: str | None = None
    description: str | None = None
    order: int | None = None
    execution_type: str = "sync"
    type: str | None = None
    parameters: dict[str, Any] = {}
    depends_on: tuple[str, ...] = ()
    when: bool | str | dict[str, Any] = True
    retry: RetryPolicy = RetryPolicy()
    timeout: float | None = None
    executor: str | None = None
    on_error: str = "fail"
    heartbeat_timeout: float | None = None
    resources: Resources = Resources()
    concurrency_key: str | None = None
    concurrency_limit: int = 1
    compensate: Compensation | None = None
    total_timeout: float | None = None


class Compiled(Record, frozen=True):
    """What a draft compiles to, as canonical JSON; the digest is that of `graph`. `actions` are those it refers to."""

    digest: str
    graph: bytes
    presentation: bytes
    actions: tuple[str, ...] = ()


class VersionRow(Record, frozen=True, omit_defaults=False):
    """A version in a list. `current`: the draft stands for it."""

    number: int
    digest: str
    created_at: float
    current: bool


class DraftStore(Protocol):
    """Definitions: the editable draft and its immutable versions.

    A workflow is named by `ref`: its id (int) or its key (str). Archived workflows are not found here, but
    their versions and executions stay. Every change of a draft locks the workflow's row, bumps `revision`
    and sets `updated_at`, in one transaction.
    """

    async def create_workflow(self, new: NewWorkflow) -> Workflow:
        """Raises `KeyTaken`."""
        ...

    async def get_workflow(self, namespace: str, ref: int | str) -> Workflow:
        """With its tasks, sorted by (order, id). Raises `WorkflowNotFound`."""
        ...

    async def list_workflows(self, namespace: str, skip: int, limit: int) -> tuple[list[Workflow], int]:
        """A page by id, oldest first, with tasks, and the total. No query per workflow."""
        ...

    async def update_workflow(self, namespace: str, ref: int | str, changes: Mapping[str, Any]) -> Workflow:
        """Sets fields of `NewWorkflow`; a `source` replaces the tasks. Raises `WorkflowNotFound`, `KeyTaken`."""
        ...

    async def archive_workflow(self, namespace: str, ref: int | str) -> int:
        """The id; live executions go on, key and triggers are given up. Raises `WorkflowNotFound`."""
        ...

    async def edit_tasks(self, namespace: str, ref: int | str, edit: "TaskEdit") -> tuple[Workflow, int]:
        """Applies one edit under the row lock; returns the new draft and the task's id.

        `edit.check` sees the draft as it would be and raises to refuse it: nothing is then written.
        Raises `WorkflowNotFound`, `TaskNotFound`, `KeyTaken` (key not unique in the workflow).
        """
        ...

    async def ensure_version(
        self, namespace: str, ref: int | str, compile_draft: Callable[[Workflow, ReadActions], Compiled]
    ) -> tuple[WorkflowVersion, int]:
        """The version that the present draft stands for, made if its digest is new, and the draft's revision.

        The row is locked while `compile_draft` runs. An old digest is found again, not made again; a changed
        presentation of the same digest replaces the old one. Raises `WorkflowNotFound`, and what `compile_draft`
        raises.
        """
        ...

    async def current_revisions(self, namespace: str, refs: Sequence[int | str]) -> dict[int | str, tuple[int, int]]:
        """(workflow id, revision) of those that exist and are not archived. One query."""
        ...

    async def list_versions(self, namespace: str, ref: int | str, limit: int) -> list[VersionRow]:
        """Newest first; without their graphs. Raises `WorkflowNotFound`."""
        ...

    async def get_version(self, namespace: str, ref: int | str, number: int) -> WorkflowVersion:
        """Raises `WorkflowNotFound`, `VersionNotFound`."""
        ...

    async def get_versions(self, ids: Sequence[int]) -> dict[int, WorkflowVersion]:
        """Those that exist."""
        ...


class TaskEdit(msgspec.Struct):
    """One change of a draft's tasks: add `new`, or change fields of `task_id`, or (both None) delete it."""

    check: Callable[[Workflow], None]
    task_id: int | None = None
    new: NewTask | None = None
    changes: Mapping[str, Any] | None = None


class JournalStore(Protocol):
    """Executions, events, signals, leases: the exact protocol is in `docs/durability.md`."""

    async def acquire_lease(self, holder: str, ttl: float) -> int:
        """A new lease; its id only grows and is never reused."""
        ...

    async def renew_lease(self, lease: int, ttl: float) -> None:
        """Raises `LeaseLost` when it was marked lost. An expired lease that nobody marked goes on."""
        ...

    async def release_lease(self, lease: int) -> None:
        """Marks it lost and frees its executions at once (graceful stop). Never raises for a lost lease."""
        ...

    async def sweep(self, ttl: float) -> int:
        """Marks expired leases lost, one by one, then frees every execution whose lease is lost or missing.

        Does nothing within `ttl` seconds of the database's own start. Returns how many were freed.
        """
        ...

    async def commit(self, lease: int, batch: int, appends: Sequence[Append]) -> Committed:
        """Appends all or nothing, fenced by `lease`, durable on return.

        `batch` is unique per process and stored with each event: after a broken connection the store finds out
        whether the batch was committed, before it answers. Raises `LeaseLost`; `BatchRefused` when an item
        cannot be stored (a seq that exists, a row that is not ours). Updates touch only rows owned by `lease`.
        A parked execution with a waiting signal is due at once.
        """
        ...

    async def start(self, appends: Sequence[Append]) -> Committed:
        """Starts without a lease (no engine in this process): `start` set, `owned` false in each. Same rules."""
        ...

    async def claim(self, lease: int, limit: int) -> Claims:
        """Takes up to `limit` due executions (`owner IS NULL AND wake_at <= now()`), earliest first, fenced."""
        ...

    async def owned(self, lease: int) -> list[int]:
        """The ids of the executions that `lease` owns."""
        ...

    async def next_wake(self) -> float | None:
        """Seconds until the earliest `wake_at` of an unowned execution (<= 0: due), None if there is none."""
        ...

    async def put_signals(self, signals: Sequence[Signal]) -> list[int | None]:
        """Inserts and sets `wake_at = now()` on each execution, in one transaction. Their ids; None: it waits already.

        Signals for an execution that has ended or does not exist are not stored (None). A `dedupe_key` is compared with
        those that wait in the inbox: whether the journal has it, and from which id, only its reader knows.
        """
        ...

    async def inbox(self, lease: int, executions: Sequence[int] | None = None) -> list[Signal]:
        """Waiting signals, oldest first, of these executions; None: of all that `lease` owns."""
        ...

    async def share_slots(self, lease: int, asks: Sequence[PoolSlot], pools: Sequence[SlotPool]) -> list[SlotGrant]:
        """Puts `asks` in line, then hands out what is free in their pools and in `pools`, the longest wait first.

        One short transaction, fenced; of executions that `lease` does not own nothing is put in line. Answers all
        that were granted, whoever owns them, and those of `asks` that hold already: asking twice is harmless. Where
        versions of a workflow bound the same pool differently, the first in line decides.
        """
        ...

    async def mend_slots(self, lease: int, unclaimed: float) -> list[SlotGrant]:
        """The guarantee behind `share_slots`: hands out whatever is free while somebody waits for it.

        First takes slots back from executions that ended, are gone, or were due `unclaimed` seconds ago.
        """
        ...

    async def get_slots(self, executions: Sequence[int]) -> list[PoolSlot]:
        """What the tasks of these executions hold or wait for. One query."""
        ...

    async def read_events(self, after: Mapping[int, int], limit: int = WHOLE_HISTORY) -> dict[int, list[StoredEvent]]:
        """Per execution id the events with `seq > after[id]`, in order, at most `limit` each. One query."""
        ...

    async def get_executions(self, ids: Sequence[int]) -> dict[int, ExecutionRow]:
        """Those that exist. One query."""
        ...

    async def list_executions(self, where: ExecutionFilter, after: Cursor | None, limit: int) -> list[ExecutionRow]:
        """A keyset page, newest first; never loads a payload."""
        ...

    async def reserve_ids(self, count: int) -> range:
        """Execution ids that nobody else gets. Gaps are allowed."""
        ...


class Store(DraftStore, JournalStore, WaitStore, OutboxStore, SecretStore, ActionStore, EventStore, Protocol):
    """Where state lives."""

    shared: ClassVar[bool]
    """Whether other processes may write to it (then caches must be coherent, and wake-ups must travel)."""

    async def open(self) -> None:
        """Connects; the schema must be there (see `migrate`). Raises `ConfigurationError` with the cure."""
        ...

    async def close(self) -> None: ...

    async def ping(self) -> None:
        """One cheap round trip. Raises `StoreUnavailable`."""
        ...

    async def identity(self) -> str:
        """Names this database among all others; the same for every process that may write to it."""
        ...

    def listen(self, wake: Callable[[str, tuple[int, ...]], None]) -> None:
        """Calls `wake(topic, execution ids)` in the loop when another process says that something happened.

        Topics: `claim` (something is due), `signal`, `slot` (of a pool, granted), `progress` (events were appended),
        `crowded` (tasks wait for a slot here), `hungry` (with the number of free slots, in place of an id). Losing
        one is allowed.
        """
        ...

    def notify(self, topic: str, executions: Sequence[int] = ()) -> None:
        """Tells other processes, after the commit, at most once per topic per 5 ms. Never blocks, never raises."""
        ...
