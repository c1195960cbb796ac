"""What the next commit of one execution will say, and what follows from it once it is durable."""

from collections.abc import Sequence
from typing import cast, get_args

import msgspec

from engine import events as ev
from engine.model import TaskCall
from engine.pools import Tickets
from engine.ports import Append, NewExecution, Park, Signal
from engine.state import State, derived_status
from engine.states import ExecutionStatus, is_terminal
from engine.waits import Lapse, NewWait, WaitLapse

Timed = ev.TaskSleeping | ev.TaskAwaiting | ev.ChildStarted | ev.TaskFailed | ev.ExecutionStarted
_TIMED: frozenset[type] = frozenset(get_args(Timed))
AT_ONCE = Park(wake_in=0.0)
"""Left for any engine to go on with now."""


class Step(msgspec.Struct):
    """One commit: the append, and what is to happen once it is durable."""

    append: Append
    events: list[ev.Event]
    calls: list[TaskCall]
    cancels: tuple[TaskCall, ...]
    ended: bool
    parked: bool
    outside: bool
    """Whether an event is published, or a wait looks back for one."""

    def timed(self) -> list[Timed]:
        """Its events that may set a timer."""
        return _timed(self.events)


class NextStep:
    """A step in the making; its owner adds to it what it decides."""

    __slots__ = (
        "_row_status",
        "_started",
        "_stopped",
        "asks",
        "calls",
        "children",
        "consumed",
        "events",
        "lapses",
        "outside",
        "records",
        "signals",
        "start",
    )

    def __init__(self, row_status: ExecutionStatus | None) -> None:
        self._row_status = row_status
        self._started = row_status is None or row_status is ExecutionStatus.PENDING
        self.start: NewExecution | None = None
        """The row of a new execution: in its first append."""
        self._empty()

    def _empty(self) -> None:
        self.events: list[ev.Event] = []
        self.records: list[ev.EventRecord] = []
        self.calls: list[TaskCall] = []
        """Attempts that begin when it is durable."""
        self.consumed: tuple[int, ...] = ()
        """Ids of the signals that it takes out of the inbox."""
        self.asks: tuple[NewWait, ...] = ()
        self.lapses: tuple[WaitLapse, ...] = ()
        """Waits that the world can see from now on, and those that end without an answer."""
        self._stopped: tuple[TaskCall, ...] = ()
        self.children: tuple[Append, ...] = ()
        self.signals: tuple[Signal, ...] = ()
        """What it tells other executions."""
        self.outside = False

    def ask(self, wait: NewWait | None) -> None:
        """The world can see this wait, if it is one for it."""
        if wait is not None:
            self.asks += (wait,)
            self.outside = self.outside or wait.lookback is not None

    def stop(self, call: TaskCall) -> None:
        """The attempt stops once this is durable; one that was to begin then does not begin."""
        unsent = [other for other in self.calls if other is not call]
        if len(unsent) == len(self.calls):
            self._stopped += (call,)
        self.calls = unsent

    def finish(self, state: State, tickets: Tickets | None, park: Park | None) -> Step:
        """The step; the next one begins empty."""
        status = derived_status(state)
        ended = is_terminal(status)
        if ended:
            self.lapses += tuple(WaitLapse(key, Lapse.CLOSED) for key in state.asking)
        start = self.start
        if start is not None:
            start = msgspec.structs.replace(start, status=status)
        append = Append(
            state.execution_id,
            state.seq - len(self.records) + 1,
            tuple(self.records),
            start,
            status if status is not self._row_status and start is None else None,
            self._started and start is None,
            park,
            self.consumed,
            tickets.take_freed() if tickets is not None else (),
            self.asks,
            self.lapses,
            self.children,
            self.signals,
        )
        step = Step(append, self.events, self.calls, self._stopped, ended, park is not None, self.outside)
        self.start = None
        self._started = False
        self._row_status = status
        self._empty()
        return step

    def park(self, state: State, *, for_slots: bool) -> Park:
        """When it is due: timers of this very append are relative, their moment is the database's to say."""
        fresh: dict[str, ev.Event] = {}
        wake_in: list[float] = []
        wake_at: list[float] = []
        for event in _timed(self.events):
            if not isinstance(event, ev.ExecutionStarted):
                fresh[event.task] = event
            elif state.graph.timeout is not None:
                wake_in.append(state.graph.timeout)
        if state.deadline is not None and not state.stopping:
            wake_at.append(state.deadline)
        for key, task in state.active.items():
            if task.deadline is not None:
                wake_at.append(task.deadline)
            match fresh.get(key):
                case ev.TaskSleeping(until=float() as until):
                    wake_at.append(until)
                case ev.TaskSleeping(seconds=seconds):
                    wake_in.append(seconds)
                case (
                    ev.TaskFailed(retry_in=float() as seconds)
                    | ev.TaskAwaiting(timeout=float() as seconds)
                    | ev.ChildStarted(timeout=float() as seconds)
                ):
                    wake_in.append(seconds)
                case None if task.due is not None:
                    wake_at.append(task.due)
                case _:
                    pass
        return Park(min(wake_in, default=None), min(wake_at, default=None), for_slots)


def _timed(events: Sequence[ev.Event]) -> list[Timed]:
    return [cast("Timed", event) for event in events if type(event) in _TIMED]
