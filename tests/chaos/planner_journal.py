"""One execution as a database would hold it, and all that is checked when something is appended to it."""

from collections import Counter
from typing import Any

from engine import events as ev
from engine.children import ChildEnd, Opening
from engine.graph import CompiledGraph
from engine.model import AwaitSignal, Completed, Failed, Failure, FanOut, Graph, Lost, Result, Sleep, TaskCall
from engine.planner import Decision, plan
from engine.ports import Append, Park, Signal
from engine.runner import Run
from engine.state import State, apply
from engine.states import EXECUTION_MOVES, TASK_MOVES, ExecutionStatus, is_terminal
from engine.states import TaskStatus as T
from engine.steps import Step
from engine.task_state import TaskState
from engine.timers import replay, stamp
from tests.chaos import planner_waits
from tests.chaos.planner_times import STOPS, Timed
from tests.chaos.planner_twin import MISSING, NOTHING, FanVerdict, History, Verdict, retry_bounds

Move = tuple[str, str, str]
"""`task` or `execution`, from, to."""
Counted = str | Move
SUSPECT, MOST_LOSSES = 2, 7
"""Losses after which a task runs alone, and after which it is given up."""
LOST_WAYS = ("unknown_target", "unknown_label")
_ENDED = (T.COMPLETED, T.FAILED, T.SKIPPED, T.CANCELLED)
Idle = ev.TaskSleeping | ev.TaskAwaiting | ev.TaskFannedOut | ev.ChildStarted | ev.BudgetRaised
_SAID: dict[type[ev.Event], type[Result]] = {
    ev.TaskSleeping: Sleep,
    ev.TaskAwaiting: AwaitSignal,
    ev.TaskFannedOut: FanOut,
}
"""What an attempt reported of which an event tells."""
VIEW_ONLY = {"graph", "started_at", "ended_at", "scheduled_at"}
"""What the owner of an execution does not keep: only those who read an execution need it."""


class Journal:
    """Row, events, inbox; `state` is folded from the stored bytes alone."""

    def __init__(self, execution_id: int, graph: Graph, compiled: CompiledGraph, counts: Counter[Counted]) -> None:
        self.id = execution_id
        self.graph = graph
        self.compiled = compiled
        self.counts = counts
        self.stored: list[ev.StoredEvent] = []
        self.events: list[ev.Event] = []
        self.times: list[float] = []
        self.state = State(execution_id, compiled)
        self.status = ExecutionStatus.PENDING
        self.owned = False
        self.wake_at: float | None = None
        self.inbox: dict[int, Signal] = {}
        self.ends: dict[int, ChildEnd] = {}
        """How children came to their ends."""
        self.expected: dict[str, Result | Opening] = {}
        """The first report of each attempt that runs, by task."""
        self.given_up = False
        """Whether its owner hands it over, its attempts stopped."""
        self.waits = planner_waits.Waits()
        self.attached: set[str] = set()
        """Tasks whose attempt outlived the last take-over."""
        self.planned_at = 0.0
        """What its owner knew of the time when it made the step that is committed next."""

    @property
    def ended(self) -> bool:
        return is_terminal(self.status)

    def leave(self, value: Any, at: float) -> None:
        """A start without an engine."""
        self._store(ev.encode(ev.ExecutionStarted(value)), at)
        self.wake_at = at

    def commit(self, run: Run, step: Step, at: float) -> None:
        """Appends as the store would, and checks everything."""
        append = step.append
        assert self.owned
        assert append.first_seq == len(self.stored) + 1, "seq has a gap"
        over = self._timed().over(self.planned_at)
        for record in append.events:
            self._store(record, at)
        for signal_id in append.consumed:
            del self.inbox[signal_id]
        self._move(append, at)
        self.waits.commit(append)
        self.waits.check(History(self.graph, self.events), self.inbox, ended=self.ended)
        run.committed(step, at)
        self._check_kin(step)
        self._check_calls(step)
        self._check_decided(step, over=over)
        self._check_served(run)

    # --- one event ---

    def _timed(self) -> Timed:
        return Timed(self.graph, self.events, self.times)

    def _store(self, record: ev.EventRecord, at: float) -> None:
        stored = ev.StoredEvent(self.id, len(self.stored) + 1, record.type, 1, at, 1, record.data)
        event = ev.decode(stored)
        before, now = self._timed(), self.planned_at
        late = before.why() is None and isinstance(event, STOPS) and before.over(now)
        verdict = before.verdict(late=late)
        known, self.state.failed = self.state.failed, before.too_long() if late else self.state.failed
        if late:
            self.counts["too late", type(event).__name__, "in the whole"] += 1
        assert before.cut_runs() or agrees(decided(self.state), verdict), (self.events, verdict)
        self.state.failed = known  # its owner knows that it lasts too long before an event says it
        self._check_event(event, before, verdict, now)
        self._count_move(event)
        self.stored.append(stored)
        self.events.append(event)
        self.times.append(at)
        apply(self.state, event, len(stored.data))
        stamp(self.state, event, at)
        self.counts[type(event).__name__] += 1
        for fan in verdict.fans:
            if fan.key is not None and fan.key == getattr(event, "task", None):
                kind = f"{before.work(fan.key).type} {'inside ' if before.outer(fan.key) else ''}"
                self.counts[f"{kind}{fan.failure or 'completed'}"] += 1
        if isinstance(event, ev.TaskCancelled) and verdict.fans:
            self.counts["runs cancelled while their execution went on"] += 1

    def _count_move(self, event: ev.Event) -> None:
        if isinstance(event, ev.ChildStarted) and not event.wait:
            return  # its completion follows
        after = History(self.graph, [*self.events, event])
        for key in getattr(event, "lost", None) or [getattr(event, "task", None)]:
            if key is None:
                continue
            old = self.state.tasks[key].status if key in self.state.tasks else T.PENDING
            new = after.status(key)
            assert new in TASK_MOVES[old], f"{key}: {old} -> {new} is not legal"
            self.counts["task", old.value, new.value] += 1

    def _check_event(self, event: ev.Event, before: Timed, verdict: Verdict, now: float) -> None:
        assert not any(isinstance(e, ev.TERMINAL_EVENTS) for e in self.events), "something after the end"
        match event:
            case ev.TaskScheduled(task=key) | ev.TaskStarted(task=key):
                self._check_start(event, key, before, verdict, now)
            case ev.TaskSkipped(task=key, reason=reason):
                assert (key, reason) in verdict.skips
            case ev.TaskCompleted():
                self._check_completed(event, before, verdict, now)
            case ev.TaskFailed():
                self._check_failed(event, before, verdict, now)
            case ev.TaskSleeping() | ev.TaskAwaiting() | ev.TaskFannedOut() | ev.ChildStarted() | ev.BudgetRaised():
                self._check_idle(event, before)
            case ev.TaskCancelled(task=key):
                given_up = before.outers(key) if key not in verdict.cancels else ()
                fans = [fan for fan in verdict.fans if key in fan.cancels]
                assert key in verdict.cancels or fans or any(before.overdue(outer, now) for outer in given_up)
                self.expected.pop(key, None)
            case ev.CancelRequested():
                assert not before.compensating()
            case ev.CompensationStarted() | ev.ExecutionCompleted() | ev.ExecutionFailed() | ev.ExecutionCancelled():
                assert event in (verdict.undoing, verdict.end)
                assert not verdict.cancels
            case ev.SignalReceived(dedupe_key=str() as key):
                assert not any(isinstance(e, ev.SignalReceived) and e.dedupe_key == key for e in self.events)
            case ev.TaskLost():
                self._check_lost(event, before)
            case ev.TakenOver(lost=lost):
                assert lost
                assert all(before.status(key) is T.RUNNING and key not in self.attached for key in lost)
            case _:
                pass

    def _check_start(self, event: ev.Event, key: str, before: Timed, verdict: Verdict, now: float) -> None:
        assert verdict.end is None, f"{event} after {verdict.end} was decided"
        assert verdict.undoing is None, f"{event} after {verdict.undoing} was decided"
        assert (key in before.undone) == before.compensating()
        match before.status(key):
            case T.PENDING:
                may = verdict.starts | {fan.start for fan in verdict.fans}
                assert key in may, "a task started before its join was decided"
            case T.RETRYING:
                due = before.due(key)
                assert due is not None
                assert due <= now, "a retry began early"
            case status:
                assert status is T.SCHEDULED
        if isinstance(event, ev.TaskStarted):
            assert event.attempt == before.attempts(key) + 1
            assert before.status(key) is T.PENDING or not before.overdue(key, now), "an attempt began too late"
            assert before.config(key) is not MISSING

    def _check_idle(self, event: Idle, before: Timed) -> None:
        if isinstance(event, ev.BudgetRaised):
            planner_waits.check_raise(before, event)
            return
        given = self.expected.pop(event.task)
        if not isinstance(event, ev.ChildStarted):
            assert isinstance(given, _SAID[type(event)])
            return
        assert isinstance(given, Opening)
        assert (given.execution_id, given.wait) == (event.execution_id, event.wait)
        if not event.wait:
            self.expected[event.task] = Completed({"execution_id": event.execution_id})

    def _check_completed(self, event: ev.TaskCompleted, before: Timed, verdict: Verdict, now: float) -> None:
        key, name = event.task, before.waits_for(event.task)
        assert before.lost_way(key, event.label) is None
        if before.status(key) is T.WAITING and before.fanned_out(key):
            assert FanVerdict(None, key) in verdict.fans
            assert event == ev.TaskCompleted(key), "what it puts out is said twice"
        elif name is not None and planner_waits.check_end(before, event, before.due(key), now):
            self.counts["answered"] += 1
        elif name is not None:
            assert event.output == before.mail(name)[0]
        elif (child := before.child(key)) is not None:
            assert self.ends[child] == ChildEnd(child, ExecutionStatus.COMPLETED, event.output)
        elif before.status(key) is T.WAITING:
            due = before.due(key)
            assert due is not None
            assert due <= now, "a timer fired early"
            assert not before.overdue(key, now), "a wait ended well that had lasted too long"
            slept = before.own(key)[-1]
            assert isinstance(slept, ev.TaskSleeping)
            assert event.output == slept.output
        else:
            assert Completed(event.output, event.label) == self.expected.pop(key)

    def _check_failed(self, event: ev.TaskFailed, before: Timed, verdict: Verdict, now: float) -> None:
        key = event.task
        if event.error == before.too_late(key):
            before.check_overdue(event, now)
            self.counts["too late", before.status(key).value, "of a task"] += 1
            return
        match before.status(key):
            case T.RUNNING:
                given = self.expected.pop(key)
                if isinstance(given, Completed):
                    assert event.error.type == before.lost_way(key, given.label)
                    assert event.retry_in is None
                    return
                if planner_waits.asks_again(before, key, given):
                    self.counts["asked again"] += 1
                    assert (event.error.type, event.retry_in) == ("bad_outcome", None)
                    return
                assert isinstance(given, Failed)
                assert event.error == Failure(given.error.type, given.error.message, key)
                self._check_retry(event, before, given.retryable)
                return
            case T.WAITING if before.child(key) is not None and event.error.type not in LOST_WAYS:
                self._check_child_failed(event, before, now)
                self._check_retry(event, before, retryable=True)
                return
            case T.WAITING if before.fanned_out(key):
                assert FanVerdict(None, key, failure=event.error.type) in verdict.fans
            case T.WAITING:
                self._check_wait_failed(event, before, now)
            case T.PENDING if key in verdict.faults:
                pass
            case T.SCHEDULED if event.error.type == "process_lost":
                assert before.losses(key) == MOST_LOSSES
            case status:
                may = verdict.starts | {fan.start for fan in verdict.fans}
                assert status is T.SCHEDULED or key in may
                assert before.config(key) is MISSING
        assert event.retry_in is None

    def _check_lost(self, event: ev.TaskLost, before: Timed) -> None:
        assert before.status(event.task) is T.RUNNING
        told = self.expected.pop(event.task) if event.task in self.expected else None
        assert self.given_up if told is None else isinstance(told, Lost)
        assert event.suspect == (isinstance(told, Lost) and told.suspect)

    def _check_retry(self, event: ev.TaskFailed, before: Timed, retryable: bool) -> None:
        policy = before.work(event.task).retry
        bounds = retry_bounds(policy, before.failures(event.task) + 1, event.error, retryable)
        before.check_retry(event.task, self.planned_at, bounds, event.retry_in)

    def _check_child_failed(self, event: ev.TaskFailed, before: Timed, now: float) -> None:
        child = before.child(event.task)
        assert child is not None
        if event.error.type == "timeout":
            due = before.due(event.task)
            assert due is not None
            assert due <= now, "a child was given up early"
        else:
            assert event.error.type == f"child_{self.ends[child].status}"

    def _check_kin(self, step: Step) -> None:
        """The rows of the children that it names, and a cancel for each child whose end nobody waits for any more."""
        named = [event.execution_id for event in step.events if isinstance(event, ev.ChildStarted)]
        assert [child.execution_id for child in step.append.children] == named
        before = History(self.graph, self.events[: -len(step.events) or None])
        waiting = {key: child for key in before.keys if (child := before.child(key)) is not None}
        let_go = []
        for event in step.events:
            match event:
                case ev.ChildStarted(task=key, execution_id=child, wait=True):
                    waiting[key] = child
                case ev.TaskCompleted(task=key):
                    waiting.pop(key, None)
                case ev.TaskCancelled(task=key) if key in waiting:
                    let_go.append(waiting.pop(key))
                case ev.TaskFailed(task=key, error=error) if key in waiting:
                    child = waiting.pop(key)
                    let_go += [child] if error.type == "timeout" else []
                case _:
                    pass
        assert [(signal.kind, signal.execution_id) for signal in step.append.signals] == [("cancel", n) for n in let_go]
        self.counts["children let go"] += len(let_go)

    def _check_wait_failed(self, event: ev.TaskFailed, before: Timed, now: float) -> None:
        """In vain, or because what it ends with leads nowhere."""
        due, name = before.due(event.task), before.waits_for(event.task)
        if planner_waits.check_end(before, event, due, now):
            self.counts["answered with a failure"] += 1
            return
        if event.error.type == "timeout":
            assert name
        else:
            assert event.error.type == before.lost_way(event.task, None)
            if before.child(event.task) is not None or (name and before.mail(name)):
                return
        assert due is not None
        assert due <= now, "a wait ended early"

    # --- one commit ---

    def _move(self, append: Append, at: float) -> None:
        new = append.status if append.start is None else append.start.status
        if new is not None and new is not self.status:
            assert new in EXECUTION_MOVES[self.status], f"{self.status} -> {new} is not legal"
            self.counts["execution", self.status.value, new.value] += 1
            self.status = new
        assert self.ended == isinstance(self.events[-1], ev.TERMINAL_EVENTS)
        if append.park is not None:
            self.owned = False
            self._check_park(append.park, at)
        if self.ended:
            self.owned, self.wake_at = False, None

    def _check_park(self, park: Park, at: float) -> None:
        given = [at + park.wake_in] if park.wake_in is not None else []
        given += [park.wake_at] if park.wake_at is not None else []
        if self.given_up:
            assert given == [at]
            self.wake_at = at
            return
        assert min(given, default=None) == self._timed().next_due()
        self.wake_at = at if self.inbox else min(given, default=None)

    def _check_calls(self, step: Step) -> None:
        """A call for each attempt that begins here, and for no other."""
        cancelled = {e.task for e in step.events if isinstance(e, ev.TaskCancelled)}
        started = [(e.task, e.attempt) for e in step.events if isinstance(e, ev.TaskStarted)]
        assert step.ended == self.ended
        assert [(call.address, call.attempt) for call in step.calls] == [s for s in started if s[0] not in cancelled]
        for call in step.calls:
            self.check_call(call, self.planned_at)
        assert {call.address for call in step.cancels} <= cancelled

    def check_call(self, call: TaskCall, now: float) -> None:
        """A call is what the journal says of it, whoever asks and when; it was made, or began, `now`."""
        history = self._timed()
        run = call.task + call.iteration
        assert call.type == history.work(run).type
        assert call.config == history.config(run)
        assert call.attempt == history.attempts(run)
        assert call.alone == (history.losses(run) >= SUSPECT)
        history.check_time(run, call.timeout, now)
        assert call.idempotency_key == f"{self.id}/{call.task}/{call.iteration}"

    def _check_decided(self, step: Step, *, over: bool) -> None:
        """Nothing that could be decided is left; parked exactly when no task holds or awaits a slot."""
        history = self._timed()
        assert history.verdict() == NOTHING
        assert decided(self.state) == NOTHING
        statuses = [history.status(key) for key in history.keys]
        busy = any(s in (T.SCHEDULED, T.RUNNING) for s in statuses)
        assert step.parked == (not self.ended and (self.given_up or not busy))
        assert all(history.losses(key) < MOST_LOSSES or history.status(key) in _ENDED for key in history.keys)
        history.check_runs()
        assert not over or history.why(late=self.ended) is not None, "it goes on after its time"
        assert not over or not isinstance(self.events[-1], ev.ExecutionCompleted), "it completed after its time"
        for key in history.untouched(len(self.events) - len(step.events)):
            assert history.due(key) is None or not history.overdue(key, self.planned_at), "a task waits after its time"
        if self.ended:
            self._check_undone(history)
        else:
            assert not any(history.mail(name) for name in self.awaited()), "a task waits for a signal that has come"

    def _check_undone(self, history: History) -> None:
        """What had completed was undone once, the last first; if the whole has completed, nothing was."""
        began = dict.fromkeys(filter(history.undone.get, (getattr(e, "task", "") for e in self.events)))
        assert [*began] == ([] if self.status is ExecutionStatus.COMPLETED else history.to_undo())
        assert all(history.status(key) in (T.COMPLETED, T.FAILED) for key in began)
        self.counts["undone"] += len(began)

    def awaited(self) -> set[str]:
        """The names of the signals that tasks wait for."""
        history = History(self.graph, self.events)
        return {name for name in map(history.waits_for, history.keys) if name}

    def _check_served(self, run: Run) -> None:
        assert self.ended or run.next_due() == self._timed().next_due()
        assert fields(run.state) == fields(self.state), "what is rebuilt is not what is served"

    def check_rebuilt(self) -> None:
        """Folds everything again: the same, with every time."""
        again = State(self.id, self.compiled)
        replay(again, self.stored)
        assert fields(again, all_times=True) == fields(self.state, all_times=True)


def agrees(decision: Verdict, verdict: Verdict) -> bool:
    """Whether it is what must follow; of maps and loops one goes on at a time."""
    if decision.fans:
        return decision.fans <= verdict.fans and decision._replace(fans=verdict.fans) == verdict
    return decision == verdict


def decided(state: State) -> Verdict:
    """The planner's decision in the twin's words."""
    decision = plan(state)
    if decision.end is None and (fan := _fan_decision(decision)) is not None:
        return NOTHING._replace(fans=frozenset({fan}))
    skips, faults, cancels = set(), set(), set()
    undoing = None
    for event in decision.settle:
        match event:
            case ev.TaskSkipped(task=key, reason=reason):
                skips.add((key, reason))
            case ev.TaskFailed(task=key):
                faults.add(key)
            case ev.TaskCancelled(task=key):
                cancels.add(key)
            case ev.CompensationStarted():
                undoing = event
            case _:
                raise AssertionError(event)
    starts = decision.start
    settled = len(skips) + len(faults) + len(cancels) + (undoing is not None)
    assert (len(starts), settled) == (len(decision.start), len(decision.settle))
    assert len(set(starts)) == len(starts)
    return Verdict(frozenset(starts), frozenset(skips), frozenset(faults), frozenset(cancels), decision.end, undoing)


def _fan_decision(decision: Decision) -> FanVerdict | None:
    match decision.start, decision.settle:
        case [[key], []] if "[" in key or "." in key:
            return FanVerdict(key)
        case [[], [ev.TaskCompleted(task=key)]]:
            return FanVerdict(None, key)
        case [[], [*cancelled, ev.TaskFailed(task=key, error=error)]] if not error.message.startswith("when:"):
            cancels = [event.task for event in cancelled if isinstance(event, ev.TaskCancelled)]
            assert len(cancels) == len(cancelled)
            return FanVerdict(None, key, frozenset(cancels), error.type)
        case _:
            return None


def fields(state: State, *, all_times: bool = False) -> dict[str, Any]:
    """Every field of a state, its tasks opened, in an order-preserving form; of its alarms those that count."""
    found = {
        name: _plain(getattr(state, name), all_times)
        for name in state.__slots__
        if name not in ("graph", "now") and (all_times or name not in VIEW_ONLY)
    }
    return found | {"alarms": sorted({(due, key) for due, key in state.alarms if state.tasks[key].due == due})}


def _plain(value: Any, all_times: bool) -> Any:
    if isinstance(value, TaskState):
        return {name: getattr(value, name) for name in value.__struct_fields__ if all_times or name not in VIEW_ONLY}
    if isinstance(value, dict):
        return [(key, _plain(child, all_times)) for key, child in value.items()]
    return value
