"""The clock of the twin: when the tasks of an execution, and the whole, are due, from its events and their times.

A `total_timeout` counts from the first event that says that the task may begin, and bounds every wait of the task; the
timeout of an execution counts from its start.
"""

import math
from collections.abc import Sequence

from engine import events as ev
from engine.model import Compensation, Failure, Graph, Task
from tests.chaos.planner_twin import History

STOPS = (ev.TaskCancelled, ev.CompensationStarted, ev.ExecutionFailed)
"""What is said when the time of the whole is over."""
UNTIMED = (ev.TaskScheduled, ev.TakenOver, ev.TaskLost, ev.BudgetRaised, ev.TaskFannedOut)
"""After these a task waits for a slot, or for what it runs many times: only its `total_timeout` is a timer."""
EXACT = 1e-6
"""Seconds that sums and differences of times may differ by."""


class Timed(History):
    """`times` are those of the commits of the events."""

    def __init__(self, graph: Graph, events: Sequence[ev.Event], times: Sequence[float]) -> None:
        super().__init__(graph, events)
        self.times = times

    def due(self, key: str) -> float | None:
        """When the timer is due that the task's last event has set."""
        mine = self.own(key)
        if not mine:
            return None
        at, due = self._at(mine[-1]), math.inf
        match mine[-1]:
            case ev.TaskSleeping(until=float() as until):
                due = until
            case ev.TaskSleeping(seconds=seconds) | ev.TaskFailed(retry_in=float() as seconds):
                due = at + seconds
            case ev.TaskAwaiting(timeout=seconds) | ev.ChildStarted(wait=True, timeout=seconds):
                due = math.inf if seconds is None else at + seconds
            case event if isinstance(event, UNTIMED):
                pass
            case _:
                return None
        due = min(due, self._deadline(key))
        return None if due == math.inf else due

    def overdue(self, key: str, now: float) -> bool:
        """Whether its `total_timeout` is over."""
        return self._deadline(key) <= now

    def over(self, now: float) -> bool:
        """Whether the whole has lasted too long."""
        return (end := self._limit()) is not None and end <= now

    def next_due(self) -> float | None:
        """The earliest timer; that of the whole is none once its end is decided."""
        dues = [*map(self.due, self.keys), self._limit() if self.why() is None else None]
        return min((due for due in dues if due is not None), default=None)

    def too_late(self, key: str) -> Failure:
        """With what a task fails whose `total_timeout` is over."""
        return Failure("timeout", f"it took longer than its total_timeout of {self._total(key):g} s", key)

    def check_retry(self, key: str, now: float, bounds: tuple[float, float] | None, given: float | None) -> None:
        """No attempt is promised that would begin too late, and none is kept back that would not."""
        left = self._deadline(key) - now
        if given is None:
            assert bounds is None or left <= bounds[1] + EXACT, "there was time for another attempt"
        else:
            assert bounds is not None
            assert bounds[0] <= given <= bounds[1]
            assert given < left, "an attempt would begin too late"

    def check_overdue(self, event: ev.TaskFailed, now: float) -> None:
        """The end of a task whose time is over: of what it runs nothing is left."""
        assert self.overdue(event.task, now), "a task was given up early"
        assert event.retry_in is None
        assert self.due(event.task) is not None, "a task was given up that waited for nothing"

    def check_runs(self) -> None:
        """A map or loop that has ended has left nothing open; who goes on has lost no run."""
        assert not self.cut_runs(), "a run was cancelled, its map or loop goes on"
        for run in filter(self.outer, self.keys):
            assert self.has_ended(run) or not self.has_ended(self.outer(run)), "a run goes on after its map or loop"

    def cut_runs(self) -> list[str]:
        """Runs that were cancelled while their map or loop is open: its end is being said, one event after another."""
        runs = [run for run in filter(self.outer, self.keys) if not self.has_ended(self.outer(run))]
        return [run for run in runs if isinstance(self.own(run)[-1], ev.TaskCancelled)]

    def check_time(self, run: str, given: float | None, now: float) -> None:
        """`given` is the time of an attempt of which `now` is planned, or has started."""
        work = self.work(run)
        left = self._deadline(run) - max(now, self._began(run))
        allowed = min(left, work.timeout or math.inf)
        assert (given is None) == (allowed == math.inf)
        assert given is None or abs(given - allowed) < EXACT, "an attempt has not the time that is left"

    def untouched(self, since: int) -> list[str]:
        """Tasks of which the events from this place on say nothing."""
        recent = {id(event) for event in self.events[since:]}
        return [key for key in self.keys if self.own(key) and id(self.own(key)[-1]) not in recent]

    def _deadline(self, key: str) -> float:
        return self._began(key) + self._total(key)

    def _total(self, key: str) -> float:
        work: Task | Compensation = self.work(key)
        return work.total_timeout or math.inf if isinstance(work, Task) else math.inf

    def _began(self, key: str) -> float:
        """When it might begin at first."""
        began = (e for e in self.own(key) if isinstance(e, ev.TaskScheduled | ev.TaskStarted))
        return next((self._at(event) for event in began), 0.0)

    def _at(self, event: ev.Event) -> float:
        return next(at for other, at in zip(self.events, self.times, strict=True) if other is event)

    def _limit(self) -> float | None:
        return self.times[0] + self.graph.timeout if self.times and self.graph.timeout is not None else None
