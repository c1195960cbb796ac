"""The plain words of the engine: frozen records without behaviour.

Times are UTC seconds since the epoch (float, microseconds kept); durations are seconds (float);
ids are integers below 2**53. Doors turn times into RFC 3339 with `Z`.
"""

from typing import Annotated, Any, Literal

import msgspec

from engine import limits
from engine.states import ExecutionStatus, TaskStatus

FORMAT = 1
"""The format number of graphs and events that this release writes."""

DEFAULT_NAMESPACE = "default"


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value; equal by content."""


class RetryPolicy(Record, frozen=True):
    """How often and when a failed attempt is tried again (Temporal's words).

    The n-th retry waits `min(initial_interval * backoff_coefficient**(n-1), maximum_interval)` seconds,
    lengthened by up to `jitter` of itself. `non_retryable` names error types that end the task at once.
    """

    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    initial_interval: Annotated[float, msgspec.Meta(ge=0, le=31_536_000)] = 1.0
    backoff_coefficient: Annotated[float, msgspec.Meta(ge=1, le=100)] = 2.0
    maximum_interval: Annotated[float, msgspec.Meta(ge=0, le=31_536_000)] = 3600.0
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    non_retryable: tuple[str, ...] = ()


class Usage(Record, frozen=True):
    """What was spent on language models. `cost` is in the currency of the prices in the settings; None: not known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None

    def __add__(self, other: "Usage") -> "Usage":
        """What has no known cost adds none."""
        known = [cost for cost in (self.cost, other.cost) if cost is not None]
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            round(sum(known), 9) if known else None,
        )


class Budget(Record, frozen=True, forbid_unknown_fields=True):
    """What language models may take: `cost` in the currency of the prices in the settings, tokens in and out together.

    Who would take more fails with `budget_exceeded`, before anything is sent, or asks for more.
    """

    cost: Annotated[float, msgspec.Meta(ge=0, le=limits.COST)] | None = None
    tokens: Annotated[int, msgspec.Meta(ge=0, le=limits.TOKENS)] | None = None
    on_exceeded: Literal["fail", "ask"] = "fail"

    def __post_init__(self) -> None:
        if self.cost is None and self.tokens is None:
            raise ValueError("a budget has a cost, or tokens, or both")

    def after(self, usage: Usage | None) -> "Budget":
        """What is left of it."""
        if usage is None:
            return self
        cost = None if self.cost is None else max(0.0, round(self.cost - (usage.cost or 0.0), 9))
        tokens = usage.input_tokens + usage.output_tokens
        return Budget(cost, None if self.tokens is None else max(0, self.tokens - tokens), self.on_exceeded)

    def raised(self, cost: float | None, tokens: int | None) -> "Budget":
        """With so much more of what it bounds, as far as a budget can go."""
        more = None if self.cost is None else min(round(self.cost + (cost or 0.0), 9), limits.COST)
        allowed = None if self.tokens is None else min(self.tokens + (tokens or 0), limits.TOKENS)
        return Budget(more, allowed, self.on_exceeded)


class Resources(Record, frozen=True):
    """What an attempt needs of a cluster: cores, accelerators, bytes of memory. Only Ray asks for them."""

    num_cpus: Annotated[float, msgspec.Meta(ge=0, le=10_000)] | None = None
    num_gpus: Annotated[float, msgspec.Meta(ge=0, le=10_000)] | None = None
    memory: Annotated[int, msgspec.Meta(ge=1, le=2**50)] | None = None


class Compensation(Record, frozen=True):
    """What undoes a completed task when its execution fails or is cancelled: a node of `type`, run as a task is."""

    type: str
    config: dict[str, Any] = {}
    retry: RetryPolicy = RetryPolicy()
    timeout: float | None = None
    executor: str | None = None
    heartbeat_timeout: float | None = None
    resources: Resources = Resources()


class Task(Record, frozen=True):
    """A vertex of the graph. `on_error` is `fail`, `continue`, or the key of the task that takes over.

    At most `concurrency_limit` tasks of a workflow run at once whose `concurrency_key`, a template, renders to the
    same text. `total_timeout` is seconds from when it may start: attempts, waits and retries together.
    """

    key: str
    type: str = "noop"
    config: dict[str, Any] = {}
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


class Edge(Record, frozen=True):
    """`target` follows `source`, always (no label) or when the outcome of `source` has this label.

    `target` may be the key of no task: `source` fails when it takes that edge. "" is no task on purpose: the path ends.
    """

    source: str
    target: str = ""
    label: str | None = None


class Graph(Record, frozen=True):
    """What every dialect parses to. Its canonical JSON has a digest: see `engine.graph.canonical`.

    `max_concurrency` bounds the tasks of the workflow that run at once, over all its executions and engines.
    `budget` is what the language models of one execution may take.
    `conditions` says, by task, where in its config a condition stands (JSON pointers): it is evaluated, not copied;
    after `rule:` a rule that is handed on.
    `timeout` is seconds from the start of an execution to its end at the latest, waits included.
    """

    tasks: tuple[Task, ...] = ()
    edges: tuple[Edge, ...] = ()
    format: int = FORMAT
    max_concurrency: int | None = None
    conditions: dict[str, tuple[str, ...]] = {}
    timeout: float | None = None
    budget: Budget | None = None


class Presentation(Record, frozen=True):
    """What people see and the digest does not: the names of tasks by key, and their order."""

    names: dict[str, str] = {}
    order: tuple[str, ...] = ()


class DraftTask(Record, frozen=True, omit_defaults=False):
    """A row of the editable draft of an *ordered tasks* workflow."""

    id: int
    workflow_id: int
    key: str
    name: str
    description: str | None
    order: int
    execution_type: str
    type: str | None
    parameters: dict[str, Any]
    depends_on: tuple[str, ...]
    when: bool | str | dict[str, Any]
    retry: RetryPolicy
    timeout: float | None
    executor: str | None
    on_error: str
    heartbeat_timeout: float | None
    resources: Resources
    concurrency_key: str | None
    concurrency_limit: int
    compensate: Compensation | None
    total_timeout: float | None
    created_at: float
    updated_at: float


class Workflow(Record, frozen=True, omit_defaults=False):
    """The template and its draft. `revision` grows with every change of the draft, tasks included."""

    id: int
    namespace: str
    key: str | None
    name: str
    description: str | None
    dialect: str
    source: bytes | None
    revision: int
    created_at: float
    updated_at: float
    tasks: tuple[DraftTask, ...] = ()
    max_concurrency: int | None = None
    timeout: float | None = None
    budget: Budget | None = None


class WorkflowVersion(Record, frozen=True, omit_defaults=False):
    """An immutable compiled definition; `number` counts from 1 inside its workflow."""

    id: int
    workflow_id: int
    number: int
    digest: str
    graph: bytes
    presentation: bytes
    created_at: float


class ExecutionRow(Record, frozen=True, omit_defaults=False):
    """What lists and claims need of an execution; everything else is folded from its events."""

    id: int
    namespace: str
    workflow_id: int
    version_id: int
    status: ExecutionStatus
    owner: int | None
    wake_at: float | None
    idempotency_key: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    labels: dict[str, str] = {}
    priority: int = 0
    queue: str = "default"
    parent_id: int | None = None
    root_id: int | None = None
    rerun_of: int | None = None


class Parent(Record, frozen=True):
    """Whose child an execution is. `root_id` has no parent; `depth` says how far below it the child is, from 1.

    `waits`: the parent's task goes on with the child's end, so the child tells it.
    """

    execution_id: int
    root_id: int
    depth: int
    waits: bool = True


class Failure(Record, frozen=True):
    """Why an attempt, or an execution, failed."""

    type: str
    message: str
    task: str | None = None


class TaskRun(Record, frozen=True, omit_defaults=False):
    """One task inside an execution: a view folded from its events.

    `reason` says why it was skipped (`not_taken`, `when`, `execution_ended`) or, in words, what it waits for.
    `child_id` is the execution that its last attempt started; `usage` is the sum over its attempts.
    """

    key: str
    name: str
    type: str
    status: TaskStatus
    iteration: str
    attempt: int
    input: Any
    output: Any
    error: Failure | None
    label: str | None
    reason: str | None
    scheduled_at: float | None
    started_at: float | None
    ended_at: float | None
    due_at: float | None
    executor: str | None
    compensates: str | None = None
    """The key of the task that it undoes; its own is that one's address, `engine.compensation`."""
    child_id: int | None = None
    usage: Usage | None = None


class ExecutionView(Record, frozen=True, omit_defaults=False):
    """An execution as a caller sees it: its row and what its events fold to up to `last_seq`.

    `usage` is the sum over its tasks.
    """

    id: int
    workflow_id: int
    version: int
    status: ExecutionStatus
    input: Any
    output: Any
    error: Failure | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    last_seq: int
    tasks: tuple[TaskRun, ...]
    labels: dict[str, str] = {}
    rerun_of: int | None = None
    cancel_requested: bool = False
    parent_id: int | None = None
    root_id: int | None = None
    usage: Usage | None = None


class Envelope(Record, frozen=True):
    """A sealed secret. `hosts` is bound to it by the seal: the only hosts that it may be sent to; empty: any."""

    name: str
    key_id: str
    nonce: bytes
    ciphertext: bytes
    hosts: tuple[str, ...] = ()


class TaskCall(Record, frozen=True):
    """All that an executor needs to run one attempt; plain JSON, so that it can travel.

    `timeout` is seconds from the start of the attempt, `heartbeat_timeout` seconds from one sign of life to the next.
    `idempotency_key` (`execution/task/iteration`) is the same for every attempt: a node sends it to what it calls.
    `alone` calls are suspected of having killed their process: each runs in one of its own.
    `secrets` are those that the config refers to, sealed: they are opened where the call is run.
    `budget` is what was left of its execution's when the attempt began.
    """

    execution_id: int
    task: str
    type: str
    config: dict[str, Any]
    attempt: int = 1
    iteration: str = ""
    timeout: float | None = None
    executor: str | None = None
    idempotency_key: str = ""
    heartbeat_timeout: float | None = None
    resources: Resources = Resources()
    alone: bool = False
    secrets: dict[str, Envelope] = {}
    budget: Budget | None = None

    @property
    def address(self) -> str:
        """Of the task run, unambiguous: see `engine.bodies`."""
        return self.task + self.iteration


class Publication(Record, frozen=True):
    """An event for the triggers of this installation, of the type `event`. The same `key` is the same event."""

    event: str
    payload: Any = None
    key: str | None = None


class Completed(Record, frozen=True, tag=True):
    """The task is done. `label` chooses among labelled edges; `publish` becomes durable with the completion.

    `usage` is what the attempt has spent.
    """

    output: Any = None
    label: str | None = None
    publish: tuple[Publication, ...] = ()
    usage: Usage | None = None


class Sleep(Record, frozen=True, tag=True):
    """The task completes with `output` after `seconds`, or at `until` (epoch seconds), by the database's clock."""

    seconds: float = 0.0
    until: float | None = None
    output: Any = None


class Ask(Record, frozen=True):
    """What a wait tells the world. `reason` says in words why the task waits.

    `details` is plain JSON for those who may answer; open waits are looked up by `kind` and `topic`. `lookback`: an
    event from outside that came up to so many seconds before counts too.
    """

    kind: str
    reason: str = ""
    topic: str | None = None
    details: dict[str, Any] = {}
    lookback: float | None = None


class Answer(Record, frozen=True):
    """What ends a wait: the task completes with `output`, and with `label` if one of its edges has it.

    If none has, and there is an `error`, it fails with that. An answer without a label always completes.
    With `raised` the budget of its execution grows by so much, and the task begins again instead.
    """

    output: Any = None
    label: str | None = None
    error: Failure | None = None
    raised: Budget | None = None


class AwaitSignal(Record, frozen=True, tag=True):
    """The task completes with the payload of the next signal `name`.

    With an `ask` the wait is a row that the world can see, and ends with the first decision on it (an `Answer`); the
    engine names it. After `timeout` seconds the task ends as `otherwise` says, or (None) fails with type `timeout`.
    """

    name: str = ""
    timeout: float | None = None
    ask: Ask | None = None
    otherwise: Answer | None = None


class FanOut(Record, frozen=True, tag=True):
    """The engine runs the task in this config `count` times, at most `max_parallel` at once.

    Only for the types in `engine.bodies`; more than `tolerated` failures fail the task.
    """

    count: int
    max_parallel: int = 1
    tolerated: int = 0


class StartChild(Record, frozen=True, tag=True):
    """Executes another workflow, named by its id or key; `version` None: the one that is current by then.

    With `wait` the task completes with that execution's output and fails if it fails or is cancelled; else it
    completes at once with `{"execution_id": …}`.
    """

    workflow: int | str
    version: int | None = None
    input: Any = None
    wait: bool = True
    labels: dict[str, str] = {}


Outcome = Completed | Sleep | AwaitSignal | FanOut | StartChild
"""What a node answers; a failure is an exception (`engine.errors.TaskError`)."""


class Failed(Record, frozen=True, tag=True):
    """How an executor reports an attempt that raised, timed out or was killed."""

    error: Failure
    retryable: bool = True
    usage: Usage | None = None


class Lost(Record, frozen=True, tag=True):
    """How an executor reports an attempt of which nobody knows how far it came. Not the handler's failure.

    `suspect`: its process died, perhaps of it; else the call itself was lost, by a server without a memory. `shared`:
    that process was a worker, which holds many calls.
    """

    reason: str
    suspect: bool = True
    shared: bool = False


Result = Outcome | Failed | Lost
"""What an executor reports for a call."""
