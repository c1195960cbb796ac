"""`state = fold(apply, events)`: what the journal of one execution amounts to.

`apply` never looks at a clock, a loop or a database: the same events give the same state, in the owner's memory,
after a crash, and in an answer. Its cost depends on the neighbours of the task, not on the graph.
"""

from collections import deque
from typing import Any, assert_never

from engine import events as ev
from engine.compensation import is_compensation
from engine.fans import Fan, Fans, output_of
from engine.graph import ERROR_LABEL, CompiledGraph, Vertex
from engine.model import Budget, Failure, Parent, Usage
from engine.states import ExecutionStatus, TaskStatus
from engine.task_state import TaskState

EVENT = 256
"""Bytes of memory that an event takes besides its data: its share of a task, of keys and of places in dicts."""
_BUSY = (TaskStatus.SCHEDULED, TaskStatus.RUNNING)
_CONCLUSIONS: dict[type[ev.Event], ExecutionStatus] = {
    ev.ExecutionCompleted: ExecutionStatus.COMPLETED,
    ev.ExecutionFailed: ExecutionStatus.FAILED,
    ev.ExecutionCancelled: ExecutionStatus.CANCELLED,
    ev.CompensationStarted: ExecutionStatus.COMPENSATING,
}


class State:
    """An execution, folded. `ready` are vertices whose join is decided and that have no event yet."""

    __slots__ = (
        "active",
        "alarms",
        "asking",
        "awaiting",
        "budget",
        "busy",
        "cancel_reason",
        "cancelling",
        "children",
        "deadline",
        "depth",
        "ended",
        "ended_at",
        "error",
        "execution_id",
        "failed",
        "fans",
        "graph",
        "heard",
        "input",
        "mail",
        "now",
        "parent",
        "ready",
        "remaining",
        "seq",
        "size",
        "started_at",
        "status",
        "taken",
        "tasks",
        "undo",
        "usage",
    )

    def __init__(self, execution_id: int, graph: CompiledGraph) -> None:  # noqa: PLR0915 — its fields
        self.execution_id = execution_id
        self.graph = graph
        self.seq = 0
        self.size = 0
        """Bytes of its events, as they are stored."""
        self.status = ExecutionStatus.PENDING
        self.input: Any = None
        self.depth = 0
        self.now = 0.0
        """What expressions call `now`: set by whoever evaluates them; no event sets it, and none is folded by it."""
        self.tasks: dict[str, TaskState] = {}
        self.active: dict[str, TaskState] = {}
        self.alarms: list[tuple[float, str]] = []
        """A heap of (due, task); an entry counts as long as the task is still due then."""
        self.awaiting: dict[str, dict[str, None]] = {}
        """By signal, the tasks that wait for it, the one that waits longest first."""
        self.asking: dict[str, None] = {}
        """Tasks whose wait the world can see, and which have not had an answer."""
        self.children: dict[int, str] = {}
        """By child execution, the task that waits for its end."""
        self.parent: Parent | None = None
        self.busy = 0
        self.ended = 0
        """Tasks of the graph that have ended."""
        self.fans = Fans()
        """Maps and loops, by address."""
        self.ready: dict[int, None] = {}
        self.undo: dict[str, None] = {}
        """Completed tasks that have a compensation which has not begun, the last one last."""
        self.remaining = graph.indegree.copy()
        self.taken = bytearray(len(graph.vertices))
        self.mail: dict[str, deque[Any]] = {}
        self.heard: dict[str, int] = {}
        """By dedupe key, the id of the signal that it came with."""
        self.failed: Failure | None = None
        self.cancelling = False
        self.cancel_reason: str | None = None
        self.error: Failure | None = None
        self.started_at: float | None = None
        self.deadline: float | None = None
        """When the execution has lasted too long; known once its start has been stamped."""
        self.ended_at: float | None = None
        self.usage: Usage | None = None
        """The sum over its tasks."""
        self.budget = graph.budget
        """What its language models may take, as it was raised."""

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes: its events' data, and what each of them takes besides."""
        return self.size + self.seq * EVENT

    @property
    def stopping(self) -> bool:
        """Whether its end is decided, so that no task may start any more, compensations excepted."""
        return self.cancelling or self.failed is not None

    def bars(self, key: str) -> bool:
        """Whether its end is decided and keeps `key` from starting."""
        return (self.cancelling or self.failed is not None) and not is_compensation(key)

    def budget_left(self, key: str) -> Budget | None:
        """What is left for the task `key`; who was given more once does not ask again."""
        if self.budget is None:
            return None
        left, task = self.budget.after(self.usage), self.tasks.get(key)
        return Budget(left.cost, left.tokens) if task is not None and task.asked else left

    def output(self) -> Any:
        """The outputs of the completed tasks that nothing follows, by key."""
        return {
            key: self.tasks[key].output
            for key in self.graph.sinks
            if key in self.tasks and self.tasks[key].status is TaskStatus.COMPLETED
        }


def apply(state: State, event: ev.Event, size: int) -> None:  # noqa: C901, PLR0912, PLR0915 — one exhaustive dispatch
    """Folds one event, whose data has `size` bytes. The most frequent come first."""
    state.seq += 1
    state.size += size
    match event:
        case ev.TaskCompleted():
            _complete(state, event)
        case ev.TaskStarted():
            _activate(state, event.task, TaskStatus.RUNNING).attempt = event.attempt
        case ev.TaskScheduled():
            _activate(state, event.task, TaskStatus.SCHEDULED)
            if state.fans:
                state.fans.wait(event.task)
        case ev.TaskSkipped():
            _skip(state, event)
        case ev.TaskFailed():
            _fail(state, event)
        case ev.TaskSleeping():
            _idle(state, event.task, TaskStatus.WAITING).output = event.output
        case ev.TaskAwaiting():
            _await(state, event)
        case ev.TaskFannedOut():
            _fan_out(state, event)
        case ev.ChildStarted():
            _begin_child(state, event)
        case ev.TaskCancelled():
            _cancel(state, event.task)
        case ev.SignalReceived():
            _hear(state, event)
        case ev.BudgetRaised():
            _raise(state, event)
        case ev.CancelRequested():
            _request_cancel(state, event)
        case ev.TakenOver():
            for key in event.lost:
                _lose(state, key, suspect=True)
        case ev.TaskLost():
            _lose(state, event.task, suspect=event.suspect)
        case ev.ExecutionStarted():
            _start(state, event)
        case ev.ExecutionCompleted() | ev.ExecutionFailed() | ev.ExecutionCancelled() | ev.CompensationStarted():
            _conclude(state, event)
        case _:
            assert_never(event)


def derived_status(state: State) -> ExecutionStatus:
    """The status as its events have it."""
    if state.status is not ExecutionStatus.PENDING or not (state.tasks or state.cancelling):
        return state.status
    return ExecutionStatus.RUNNING if state.busy or not state.active else ExecutionStatus.WAITING


def _conclude(
    state: State, event: ev.ExecutionCompleted | ev.ExecutionFailed | ev.ExecutionCancelled | ev.CompensationStarted
) -> None:
    """Why it ends stays as it was, whatever compensations add to it."""
    state.status = _CONCLUSIONS[event.__class__]
    match event:
        case ev.ExecutionFailed() | ev.CompensationStarted():
            state.error = event.error
            state.failed = state.failed or event.error
        case ev.ExecutionCancelled():
            state.error = event.error
        case ev.ExecutionCompleted():
            pass
        case _:
            assert_never(event)


def _start(state: State, event: ev.ExecutionStarted) -> None:
    state.input, state.depth, state.parent = event.input, event.depth, event.parent
    state.ready = dict.fromkeys(state.graph.roots)


def _request_cancel(state: State, event: ev.CancelRequested) -> None:
    state.cancelling = True
    state.cancel_reason = event.reason


def _leave(state: State, key: str) -> TaskState:
    """Takes a task out of what its present status counts for."""
    task = state.tasks.get(key)
    if task is None:
        task = state.tasks[key] = TaskState()
        vertex = state.graph.by_key[key]
        if vertex.depth:
            state.fans.enter(key)
        elif vertex.compensates is None:
            state.ready.pop(vertex.index, None)
        else:
            state.undo.pop(vertex.compensates, None)
    elif task.status in _BUSY:
        state.busy -= 1
        if task.status is TaskStatus.SCHEDULED:
            task.due = None
            if state.fans:
                state.fans.go(key)
    else:
        task.due = None
        if task.awaiting is not None:
            _stop_awaiting(state, key, task.awaiting)
            task.reason = task.otherwise = None
        if task.child is not None:
            state.children.pop(task.child, None)
    return task


def _await(state: State, event: ev.TaskAwaiting) -> None:
    task = _idle(state, event.task, TaskStatus.WAITING)
    task.awaiting, task.reason, task.otherwise = event.name, event.reason, event.otherwise
    state.awaiting.setdefault(event.name, {})[event.task] = None
    if event.kind is not None:
        state.asking[event.task] = None


def _begin_child(state: State, event: ev.ChildStarted) -> None:
    task = _idle(state, event.task, TaskStatus.WAITING) if event.wait else state.tasks[event.task]
    task.child = event.execution_id
    if event.wait:
        state.children[event.execution_id] = event.task


def _stop_awaiting(state: State, key: str, name: str) -> None:
    waiting = state.awaiting[name]
    del waiting[key]
    if not waiting:
        del state.awaiting[name]


def _activate(state: State, key: str, status: TaskStatus) -> TaskState:
    task = _leave(state, key)
    state.busy += 1
    state.active[key] = task
    task.status = status
    return task


def _idle(state: State, key: str, status: TaskStatus) -> TaskState:
    task = _leave(state, key)
    task.status = status
    return task


def _end(state: State, key: str, status: TaskStatus) -> TaskState:
    task = _leave(state, key)
    state.active.pop(key, None)
    task.status, task.due = status, None
    if not (state.fans and state.fans.end(key, failed=status is TaskStatus.FAILED)):
        state.ended += 1
    return task


def _cancel(state: State, key: str) -> None:
    _end(state, key, TaskStatus.CANCELLED)
    state.asking.pop(key, None)


def _fan_out(state: State, event: ev.TaskFannedOut) -> None:
    _idle(state, event.task, TaskStatus.WAITING)
    inner = state.graph.by_key[event.task].inner
    assert inner is not None
    state.fans.begin(event.task, Fan(inner.kind, event.count, event.max_parallel, event.tolerated))


def _hear(state: State, event: ev.SignalReceived) -> None:
    state.mail.setdefault(event.name, deque()).append(event.payload)
    if event.dedupe_key is not None:
        state.heard[event.dedupe_key] = event.signal_id


def _complete(state: State, event: ev.TaskCompleted) -> None:
    task = _end(state, event.task, TaskStatus.COMPLETED)
    if task.awaiting is not None:
        if mail := state.mail.get(task.awaiting):  # none, when its time was over
            mail.popleft()
        task.awaiting = None
        state.asking.pop(event.task, None)
    task.output = event.output
    if state.fans and event.task in state.fans:
        task.output = output_of(state.fans[event.task], event.task, state.tasks)
    if state.fans:
        state.fans.collect(event.task, task.output)
    task.label = event.label
    task.error = None
    if event.usage is not None:
        _spend(state, task, event.usage)
    vertex = state.graph.by_key[event.task]
    if vertex.task.compensate is not None:
        state.undo[event.task] = None
    _settle(state, vertex, event.label)


def _raise(state: State, event: ev.BudgetRaised) -> None:
    task = _activate(state, event.task, TaskStatus.SCHEDULED)
    if task.awaiting is not None:
        state.mail[task.awaiting].popleft()
        task.awaiting = None
        state.asking.pop(event.task, None)
    task.asked = True
    if state.budget is not None:
        state.budget = state.budget.raised(event.cost, event.tokens)


def _fail(state: State, event: ev.TaskFailed) -> None:
    if event.retry_in is not None:
        task = _idle(state, event.task, TaskStatus.RETRYING)
    else:
        task = _end(state, event.task, TaskStatus.FAILED)
    task.failures += 1
    task.error = event.error
    task.output = None
    if task.awaiting is not None:
        task.awaiting = None
        state.asking.pop(event.task, None)
    if event.usage is not None:
        _spend(state, task, event.usage)
    if event.retry_in is not None:
        return
    if state.fans:
        state.fans.collect(event.task, [event.error.type, event.error.message])
    vertex = state.graph.by_key[event.task]
    if vertex.task.on_error == "fail":
        error = event.error
        state.failed = state.failed or Failure(error.type, error.message, event.task)
    elif vertex.task.on_error == "continue":
        _settle(state, vertex, None)
    else:
        _settle(state, vertex, ERROR_LABEL, unlabelled=False)


def _spend(state: State, task: TaskState, usage: Usage) -> None:
    task.usage = usage if task.usage is None else task.usage + usage
    state.usage = usage if state.usage is None else state.usage + usage


def _skip(state: State, event: ev.TaskSkipped) -> None:
    task = _end(state, event.task, TaskStatus.SKIPPED)
    task.reason = event.reason
    _settle(state, state.graph.by_key[event.task], None, unlabelled=event.reason == "when")


def _lose(state: State, key: str, *, suspect: bool) -> None:
    task = state.tasks[key]
    task.losses += suspect
    task.status = TaskStatus.SCHEDULED
    if state.fans:
        state.fans.wait(key)


def _settle(state: State, vertex: Vertex, label: str | None, *, unlabelled: bool = True) -> None:
    """Decides the outgoing edges of an ended task; a target whose edges are all decided becomes ready."""
    remaining = state.remaining
    for edge_label, target in vertex.out:
        if unlabelled if edge_label is None else edge_label == label:
            state.taken[target] = 1
        remaining[target] -= 1
        if not remaining[target]:
            state.ready[target] = None
