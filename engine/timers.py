"""The times of an execution: those that follow from its commits, and when its tasks, or the whole, are due.

No clock is read here either: each time is that of a commit, or counts from one.
"""

from collections.abc import Iterator
from heapq import heappop, heappush

from engine import events as ev
from engine.state import State, apply
from engine.states import TaskStatus


def stamp(state: State, event: ev.Event, at: float) -> None:
    """Sets the times that follow from `at`, the database's clock at the commit of an event already applied."""
    match event:
        case ev.TaskStarted():
            task = state.tasks[event.task]
            task.started_at = at
            task.scheduled_at = task.scheduled_at or at
            stamp_deadline(state, event, at)
        case ev.TaskFannedOut() | ev.TaskLost() | ev.TakenOver() | ev.BudgetRaised():
            stamp_deadline(state, event, at)
        case ev.TaskScheduled():
            state.tasks[event.task].scheduled_at = at
            stamp_deadline(state, event, at)
        case ev.TaskCompleted() | ev.TaskSkipped() | ev.TaskCancelled():
            state.tasks[event.task].ended_at = at
        case ev.ExecutionStarted():
            state.started_at = at
            stamp_due(state, event, at)
        case ev.ExecutionCompleted() | ev.ExecutionFailed() | ev.ExecutionCancelled():
            state.ended_at = at
        case _:
            stamp_due(state, event, at)


def stamp_due(state: State, event: ev.Event, at: float) -> None:
    """Sets `due` of a task, or of the whole, whose timer `event` set: all that an owner needs of `stamp`."""
    match event:
        case ev.TaskSleeping(until=float() as until):
            _set_timer(state, event.task, until)
        case ev.TaskSleeping(seconds=seconds):
            _set_timer(state, event.task, at + seconds)
        case (
            ev.TaskAwaiting(timeout=float() as seconds)
            | ev.ChildStarted(timeout=float() as seconds)
            | ev.TaskFailed(retry_in=float() as seconds)
        ):
            _set_timer(state, event.task, at + seconds)
        case ev.ExecutionStarted():
            timeout = state.graph.timeout
            state.deadline = None if timeout is None else at + timeout
        case ev.TaskFailed():
            state.tasks[event.task].ended_at = at
        case ev.TaskAwaiting() | ev.ChildStarted(wait=True) if (limit := state.tasks[event.task].deadline) is not None:
            _set_timer(state, event.task, limit)
        case _:
            pass


def stamp_deadline(state: State, event: ev.Event, at: float) -> None:
    """A `total_timeout` counts from when its task might begin. It is the timer of one that waits without another: for a
    slot, or for what it runs many times.
    """
    match event:
        case ev.TakenOver(lost=keys):
            pass
        case (
            ev.TaskScheduled(task=key)
            | ev.TaskStarted(task=key)
            | ev.TaskFannedOut(task=key)
            | ev.TaskLost(task=key)
            | ev.BudgetRaised(task=key)
        ):
            keys = (key,)
        case _:
            return
    for key in keys:
        task, seconds = state.tasks[key], state.graph.by_key[key].task.total_timeout
        if seconds is None:
            continue
        if task.deadline is None:
            task.deadline = at + seconds
        if task.status is not TaskStatus.RUNNING:
            _set_timer(state, key, task.deadline)


def _set_timer(state: State, key: str, due: float) -> None:
    task = state.tasks[key]
    if task.deadline is not None:
        due = min(due, task.deadline)
    if key in state.active:
        task.due = due
        heappush(state.alarms, (due, key))


def next_due(state: State) -> float | None:
    """The earliest timer of a task, or the end that its timeout sets to the whole."""
    due = _next_alarm(state)
    if state.deadline is None or state.stopping:
        return due
    return state.deadline if due is None else min(due, state.deadline)


def _next_alarm(state: State) -> float | None:
    alarms = state.alarms
    while alarms and state.tasks[alarms[0][1]].due != alarms[0][0]:
        heappop(alarms)
    return alarms[0][0] if alarms else None


def take_due(state: State, now: float) -> Iterator[str]:
    """The tasks whose timers have run out, earliest first; not those that the end of one before them has ended."""
    while (first := _next_alarm(state)) is not None and first <= now:
        yield heappop(state.alarms)[1]


def replay(state: State, stored: list[ev.StoredEvent]) -> None:
    """Folds and stamps events as read from the journal."""
    for row in stored:
        event = ev.decode(row)
        apply(state, event, len(row.data))
        stamp(state, event, row.at)
