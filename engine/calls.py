"""What an attempt of a task is given: its call, and how much time it has."""

import math

from engine.fans import scope_of
from engine.model import TaskCall
from engine.planner import is_suspect
from engine.state import State
from engine.states import TaskStatus


def call_of(state: State, key: str, attempt: int, now: float, left: float) -> TaskCall:
    """Of the task at the address `key`, which has `left` seconds; raises `TaskError` if it cannot be rendered.

    Templates refer to ancestors only, so the same attempt renders to the same call, here or after a crash (`now` to
    within the time of a commit).
    """
    vertex = state.graph.by_key[key]
    task, number = vertex.task, state.execution_id
    known = state.tasks.get(key)
    state.now = now
    iteration = key[len(task.key) :] if vertex.depth else ""
    return TaskCall(
        number,
        task.key,
        task.type,
        vertex.config.render(scope_of(state, key) if vertex.depth else state),
        attempt,
        iteration,
        task.timeout if left == math.inf else min(left, task.timeout or left),
        task.executor,
        f"{number}/{task.key}/{iteration}",
        task.heartbeat_timeout,
        task.resources,
        known is not None and is_suspect(known.losses),
        budget=state.budget_left(key),
    )


def running_calls(state: State, now: float) -> list[TaskCall]:
    """The calls of attempts that the journal says run; an executor may still know them."""
    begun = [(key, task) for key, task in state.active.items() if task.status is TaskStatus.RUNNING]
    times = [(key, task.attempt, task.started_at or now) for key, task in begun]
    return [call_of(state, key, attempt, at, time_left(state, key, at)) for key, attempt, at in times]


def time_left(state: State, key: str, now: float) -> float:
    """Seconds of its `total_timeout` that the task has left."""
    known = state.tasks.get(key)
    if known is None or known.deadline is None:
        return state.graph.by_key[key].task.total_timeout or math.inf
    return known.deadline - now
