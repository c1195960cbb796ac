"""`plan(state) -> Decision`: what may start, what is skipped, whether the execution has ended. Pure.

It looks at `state.ready` only, so its cost does not grow with the graph. The caller turns a decision into events,
applies them and plans again, until there is nothing to decide.
"""

import math
import random
from collections.abc import Iterator
from typing import NamedTuple

from engine import events as ev
from engine import limits
from engine.bodies import LOOP
from engine.compensation import address, broken
from engine.errors import TaskError
from engine.fans import Fan, output_of, round_scope
from engine.graph import Vertex
from engine.model import Failure, RetryPolicy
from engine.outcomes import check_size, check_way
from engine.state import State
from engine.states import ExecutionStatus, is_terminal


class Decision(NamedTuple):
    """`settle` are events to append as they are; `start` are tasks that may start; `end` is the last event."""

    settle: list[ev.Event]
    start: list[str]
    end: ev.Event | None


NOTHING = Decision([], [], None)


def plan(state: State) -> Decision:
    """The next decision. Empty (`NOTHING`) when the execution waits for something from outside, or has ended."""
    if is_terminal(state.status):
        return NOTHING
    if state.cancelling or state.failed is not None:
        return _stop(state)
    if state.ready:
        return _decide(state)
    if state.fans.astir:
        return _go_on(state)
    if state.ended == len(state.graph.vertices) and state.seq:
        return Decision([], [], ev.ExecutionCompleted())
    return NOTHING


def _decide(state: State) -> Decision:
    settle: list[ev.Event] = []
    start: list[str] = []
    for index in state.ready:
        vertex = state.graph.vertices[index]
        if not state.taken[index] and state.graph.indegree[index]:
            settle.append(ev.TaskSkipped(vertex.key))
        elif vertex.when is None:
            start.append(vertex.key)
        else:
            _ask(state, vertex, settle, start)
    return Decision(settle, start, None)


def _ask(state: State, vertex: Vertex, settle: list[ev.Event], start: list[str]) -> None:
    assert vertex.when is not None
    try:
        wanted = vertex.when.render(state)
    except TaskError as error:
        settle.append(ev.TaskFailed(vertex.key, Failure(error.type, f"when: {error.message}", vertex.key)))
        return
    if wanted:
        start.append(vertex.key)
    else:
        settle.append(ev.TaskSkipped(vertex.key, "when"))


def _go_on(state: State) -> Decision:
    """One step of one map or loop: what follows is decided when this is known."""
    key = next(iter(state.fans.astir))
    fan = state.fans[key]
    if len(fan.failures) > fan.tolerated or fan.is_too_large:
        cancelled = map(ev.TaskCancelled, state.fans.open_below(key))
        return Decision([*cancelled, ev.TaskFailed(key, _failure(state, fan, key))], [], None)
    if fan.kind == LOOP:
        return _next_round(state, fan, key)
    if fan.opened < fan.count:
        return Decision([], [fan.next(key)], None)
    return _complete(state, fan, key)


def _failure(state: State, fan: Fan, key: str) -> Failure:
    if len(fan.failures) <= fan.tolerated:
        ended = f"{fan.opened - len(fan.open)} of {fan.count} items have ended"
        message = f"{ended}, and have put out {fan.size} bytes as JSON; at most {limits.PAYLOAD} are allowed together"
        return Failure("output_too_large", message, key)
    first = state.tasks[fan.failures[0]].error
    assert first is not None
    if fan.kind == LOOP:
        return Failure(first.type, f"round {fan.opened}: {first.message}", key)
    failed = f"{len(fan.failures)} of {fan.count} items failed, {fan.tolerated} may"
    return Failure("items_failed", f"{failed}; the first was {fan.failures[0]}: {first.type}: {first.message}", key)


def _next_round(state: State, fan: Fan, key: str) -> Decision:
    inner = state.graph.by_key[key].inner
    assert inner is not None
    assert inner.guard is not None
    if inner.until and not fan.opened:
        return Decision([], [fan.next(key)], None)
    try:
        scope = round_scope(state, key, fan.opened + (not inner.until), fan.opened)
        holds = inner.guard.render(scope)
    except TaskError as error:
        word = "until" if inner.until else "while"
        return Decision([ev.TaskFailed(key, Failure(error.type, f"{word}: {error.message}", key))], [], None)
    if holds is inner.until:
        return _complete(state, fan, key)
    if fan.opened < fan.count:
        return Decision([], [fan.next(key)], None)
    message = f"{fan.count} rounds have ended, as many as max_rounds allows, and its condition asks for more"
    return Decision([ev.TaskFailed(key, Failure("max_rounds", message, key))], [], None)


def _complete(state: State, fan: Fan, key: str) -> Decision:
    """What it puts out follows from what its runs have put out, and must be as small as any output."""
    event = ev.TaskCompleted(key)
    try:
        check_size(output_of(fan, key, state.tasks))
        check_way(state.graph.by_key[key], event)
    except TaskError as error:
        return Decision([ev.TaskFailed(key, Failure(error.type, error.message, key))], [], None)
    return Decision([event], [], None)


def _stop(state: State) -> Decision:
    """What is open is cancelled first; then compensations run one at a time, those of the last completed task first."""
    if state.status is ExecutionStatus.COMPENSATING:
        return _compensate(state)
    settle: list[ev.Event] = [ev.TaskCancelled(key) for key in state.active]
    if not state.undo:
        return Decision(settle, [], _end(state))
    settle.append(ev.CompensationStarted(None if state.cancelling else state.failed))
    return Decision(settle, [], None)


def _compensate(state: State) -> Decision:
    if state.active:
        return NOTHING
    for key in reversed(state.undo):
        return Decision([], [address(key)], None)
    return Decision([], [], _end(state))


def _end(state: State) -> ev.Event:
    """The end as it was decided, and which compensations failed."""
    failed = state.failed
    left = broken(state.tasks) if state.status is ExecutionStatus.COMPENSATING else None
    if state.cancelling or failed is None:
        return ev.ExecutionCancelled(state.cancel_reason, left)
    if left is None:
        return ev.ExecutionFailed(failed)
    return ev.ExecutionFailed(Failure(failed.type, f"{failed.message}; {left.message}", failed.task))


def next_retry(policy: RetryPolicy, failures: int, error: Failure, retryable: bool, chance: float) -> float | None:
    """Seconds until the attempt after `failures` failed ones, or None: no more. `chance` in [0, 1) is the jitter's."""
    if not retryable or failures >= policy.max_attempts or error.type in policy.non_retryable:
        return None
    try:
        interval = policy.initial_interval * float(policy.backoff_coefficient) ** (failures - 1)
    except OverflowError:
        interval = math.inf if policy.initial_interval else 0.0
    interval = min(interval, policy.maximum_interval)
    return interval * (1 + policy.jitter * chance)


def overstepped(state: State, now: float) -> Failure | None:
    """Why an execution must end that is larger, or lasts longer, than it may."""
    if state.seq > limits.HISTORY:
        return Failure("history_limit", f"the history has more than {limits.HISTORY} events")
    if state.deadline is not None and state.deadline <= now:
        return Failure("timeout", f"the execution lasted longer than {state.graph.timeout:g} s, its timeout")
    return None


def overdue(state: State, key: str) -> Iterator[ev.TaskCancelled | ev.TaskFailed]:
    """How a task ends whose `total_timeout` is over: what it runs many times is cancelled before it."""
    if key in state.fans:
        yield from map(ev.TaskCancelled, list(state.fans.open_below(key)))
    seconds = state.graph.by_key[key].task.total_timeout
    yield ev.TaskFailed(key, Failure("timeout", f"it took longer than its total_timeout of {seconds:g} s", key))


SUSPECT = 2
"""Losses of its process after which a task is suspected to be the cause, and runs alone."""
LOST_ALONE = 5
"""Further losses, while it ran alone, after which it is given up."""


def is_suspect(losses: int) -> bool:
    """Whether its next attempt must run alone, so that what runs beside it is not blamed."""
    return losses >= SUSPECT


def is_hopeless(losses: int) -> bool:
    """Whether it has killed its process often enough."""
    return losses >= SUSPECT + LOST_ALONE


def chance() -> float:
    """The only randomness near the planner; its outcome stands in the event."""
    return random.random()
