"""What an attempt of a task is given: its call, and how much time it has."""

import math

from engine.fans import scope_of
from engine.model import TaskCall
from engine.planner import is_suspect
from engine.state import State


def call_of(state: State, key: str, attempt: int, now: float) -> TaskCall:
    """Of the task at the address `key`. Templates refer to ancestors only, so the same attempt renders to the same
    call, here or after a crash (`now` to within the time of a commit). Raises `TaskError` if it cannot be rendered.
    """
    vertex = state.graph.by_key[key]
    task, number = vertex.task, state.execution_id
    known = state.tasks.get(key)
    state.now = now
    left = time_left(state, key, now)
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


def time_left(state: State, key: str, now: float) -> float:
    """Seconds of its `total_timeout` that the task has left."""
    known = state.tasks.get(key)
    if known is None or known.deadline is None:
        return state.graph.by_key[key].task.total_timeout or math.inf
    return known.deadline - now
