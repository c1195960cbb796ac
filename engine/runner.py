"""One execution in its owner's memory, moved forward one commit at a time.

`Run.advance` takes in everything that has arrived (results, signals, due timers, freed slots), plans until there is
nothing to decide, and answers with one `Step`: the append, and what is to happen once it is durable. The state is
folded ahead of the commit, but nothing of it leaves this object before; if the append is refused, the run is dropped
and read again from the journal.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

import msgspec

from engine import events as ev
from engine import limits, outcomes
from engine.calls import call_of, running_calls, time_left
from engine.children import CHILD, ChildEnd, Opening, child_of, decode_end, let_go, told_parent
from engine.errors import TaskError
from engine.graph import CompiledGraph
from engine.model import Answer, AwaitSignal, Failed, Failure, Lost, Result, TaskCall
from engine.planner import LOST_ALONE, chance, is_hopeless, next_retry, overdue, overstepped, plan
from engine.pools import Tickets
from engine.ports import NewExecution, Signal
from engine.slots import Slots
from engine.state import State, apply
from engine.states import ExecutionStatus, TaskStatus, is_terminal
from engine.steps import AT_ONCE, NextStep, Step
from engine.task_state import TaskState
from engine.timers import next_due, replay, stamp_deadline, stamp_due, take_due
from engine.waits import Lapse, WaitLapse

KEPT = 16
"""Attempts that take over a slot of their own execution while others wait; then those have their turn."""


class Run:
    """An execution that this engine owns."""

    __slots__ = (
        "_granted",
        "_kept",
        "_next",
        "_results",
        "_seen",
        "_signals",
        "_slots",
        "_spare",
        "_wake",
        "alarm",
        "committing",
        "dirty",
        "dropped",
        "flying",
        "now",
        "state",
        "tickets",
        "wanted",
    )

    def __init__(
        self,
        execution_id: int,
        graph: CompiledGraph,
        slots: Slots,
        wake: Callable[["Run"], None],
        row_status: ExecutionStatus | None = None,
    ) -> None:
        self.state = State(execution_id, graph)
        self._slots = slots
        self._wake = wake
        self._seen: set[int] = set()
        self._spare = 0
        """Slots given back in this step: what follows takes them first, so that begun executions end sooner."""
        self._kept = 0
        self._next = NextStep(row_status)
        self._results: list[tuple[TaskCall, Result | Opening, float]] = []
        self._signals: list[Signal] = []
        self._granted: list[str] = []
        self.flying: dict[str, TaskCall] = {}
        """Attempts that hold a slot, by task key."""
        self.tickets: Tickets | None = None
        """What its tasks hold of pools, if any of them needs any."""
        self.wanted: set[str] = set()
        """Tasks that wait for a slot."""
        self.now = 0.0
        """The latest known time of the database's clock; timers due by then have fired."""
        self.alarm: float | None = None
        """When its owner will look at its timers."""
        self.committing = False
        self.dirty = False
        self.dropped = False

    # --- what arrives ---

    def begin(self, start: NewExecution, value: Any) -> None:
        """A new execution: its first append carries its row."""
        self._next.start = start
        self._say(ev.ExecutionStarted(value, start.depth))

    def load(self, history: list[ev.StoredEvent], now: float, kept: State | None = None) -> None:
        """Replays the journal, or what is new of it since `kept`."""
        self.state = kept or self.state
        replay(self.state, history)
        self.now = now

    def running(self) -> list[TaskCall]:
        """The calls of attempts that the journal says run; an executor may still know them."""
        return running_calls(self.state, self.now)

    def resume(self, running: Sequence[TaskCall], attached: Container[int]) -> None:
        """Goes on after a take-over: calls (by `id()`) that are not attached are lost and start again."""
        lost = tuple(call.address for call in running if id(call) not in attached)
        for call in running:
            if id(call) in attached:
                self._go_on(call)
        if lost:
            self._say(ev.TakenOver(lost))
        for key in lost:
            if is_hopeless(self.state.tasks[key].losses):
                self._after_loss(key, "the engine that ran it died")
        for key, task in list(self.state.active.items()):
            if task.status is TaskStatus.SCHEDULED and self._is_admitted(key):
                self._queue(key)

    def admit(self, key: str) -> None:
        """The task holds its slots of pools: it waits for one of this engine now."""
        if not self.dropped and self.tickets is not None and self.tickets.admit(key):
            self._queue(key)

    def polled(self) -> None:
        """At every poll, while tasks stand in line for slots of pools: after a while it leaves memory."""
        if self.tickets is not None and self.tickets.polled():
            self._wake(self)

    def result(self, call: TaskCall, result: Result | Opening, elapsed: float) -> None:
        """An executor reports; what asks for a child has been looked up."""
        self._results.append((call, result, elapsed))

    def signal(self, signal: Signal) -> None:
        """Something from the inbox, perhaps seen before: it stays there until the append that consumed it."""
        if signal.id not in self._seen:
            self._seen.add(signal.id)
            self._signals.append(signal)

    @property
    def has_news(self) -> bool:
        """Whether `advance` has something to take in."""
        return bool(self._results or self._signals or self._granted or self._is_due())

    def next_due(self) -> float | None:
        """The earliest timer, in the database's clock."""
        return next_due(self.state)

    # --- one step ---

    def advance(self) -> Step | None:
        """Everything that follows from what has arrived, as one step; None if nothing does.

        A step without events gives an execution up that was woken for nothing.
        """
        for call, result, elapsed in self._results:
            self._take_result(call, result, elapsed)
        for signal in self._signals:
            self._take_signal(signal)
        for key in take_due(self.state, self.now) if self.state.alarms else ():
            self._fire(key)
        for key in self._granted:
            self._use_slot(key)
        self._results, self._signals, self._granted = [], [], []
        self._decide()
        spare, self._spare = self._spare, 0
        for _ in range(spare):
            self._slots.release()
        owes = self.tickets is not None and self.tickets.owes
        return self._finish() if self._next.records or owes or self._only_waits() else None

    def committed(self, step: Step, at: float) -> None:
        """The step is durable; `at` is the database's clock."""
        self.now = max(self.now, at)
        if self.state.graph.hurried:
            for event in step.events:
                stamp_deadline(self.state, event, at)
        for timed in step.timed():
            stamp_due(self.state, timed, at)

    def hand_over(self, stopped: Iterable[TaskCall]) -> Step:
        """Leaves memory, for any engine to go on at once. What ran here and was `stopped` is lost: nobody's fault."""
        for call in stopped:
            self._say(ev.TaskLost(call.address, "its engine was stopped", suspect=False))
        self.drop()
        return self._finish(given=True)

    def drop(self) -> list[TaskCall]:
        """Leaves memory: slots are freed; answers the calls that are to be stopped."""
        self.dropped = True
        flying = list(self.flying.values())
        held = len(flying) + len(self._granted) + self._spare
        self.flying, self._granted, self._spare = {}, [], 0
        self.wanted.clear()
        for _ in range(held):
            self._slots.release()
        return flying

    # --- taking in ---

    def _take_result(self, call: TaskCall, result: Result | Opening, elapsed: float) -> None:
        key = call.address
        if self.flying.get(key) is not call:
            return
        del self.flying[key]
        self._spare += 1
        if isinstance(result, Lost):
            self._say(outcomes.loss_of(key, result, alone=call.alone))
            self._after_loss(key, result.reason)
            return
        if isinstance(result, Failed):
            self._fail(key, result, elapsed)
            return
        if isinstance(result, Opening):
            self._open_child(key, result, elapsed)
            return
        try:
            outcomes.check_ask(self.state.tasks[key].asked, result)
            event, record = outcomes.record_of(key, result, elapsed, self.state.depth)
            outcomes.check_way(self.state.graph.by_key[key], event)
        except TaskError as error:
            self._fail(key, outcomes.unfit(key, result, error), elapsed)
            return
        self._record(event, record)
        if record.publishes:
            self._next.outside = True
        if isinstance(event, ev.TaskAwaiting) and isinstance(result, AwaitSignal):
            self._next.ask(outcomes.wait_of(event, result))
            self._deliver(event.name)

    def _fail(self, key: str, failed: Failed, elapsed: float) -> None:
        policy = self.state.graph.by_key[key].task.retry
        failures = self.state.tasks[key].failures + 1
        retry_in = next_retry(policy, failures, failed.error, failed.retryable and not self._is_full(), chance())
        if retry_in is not None and time_left(self.state, key, self.now + retry_in) <= 0:
            retry_in = None
        usage = outcomes.spent(failed.usage)
        self._say(ev.TaskFailed(key, outcomes.storable(failed.error, key), retry_in, outcomes.measured(elapsed), usage))

    def _after_loss(self, key: str, reason: str) -> None:
        """Another attempt, whatever its retry policy: a lost attempt is not a failed one."""
        losses = self.state.tasks[key].losses
        if is_hopeless(losses):
            message = f"its process died {losses} times, the last {LOST_ALONE} while it ran alone; {reason}"
            self._say(ev.TaskFailed(key, outcomes.storable(Failure("process_lost", message, key), key)))
        else:
            self._begin_attempt(key)

    def _take_signal(self, signal: Signal) -> None:
        self._next.consumed += (signal.id,)
        if signal.kind == "cancel":
            if not (self.state.cancelling or self.state.status is ExecutionStatus.COMPENSATING):
                self._say(ev.CancelRequested(msgspec.json.decode(signal.payload)))
            return
        if signal.kind == CHILD:
            self._child_ended(decode_end(signal.payload))
            return
        if signal.dedupe_key in self.state.heard or (self._is_full() and signal.name not in self.state.awaiting):
            return
        payload = msgspec.json.decode(signal.payload)
        self._say(ev.SignalReceived(signal.name, payload, signal.id, signal.dedupe_key))
        self._deliver(signal.name)

    def _deliver(self, name: str) -> None:
        """Completes a task that awaits `name`, if a signal of that name has come; one that fails by it leaves it."""
        while (mail := self.state.mail.get(name)) and (waiting := self.state.awaiting.get(name)):
            key = next(iter(waiting))
            if key in self.state.asking:
                self._answer(key, msgspec.convert(mail[0], Answer))
            else:
                self._complete(ev.TaskCompleted(key, mail[0]))
            if self.state.stopping:
                return

    def _is_due(self) -> bool:
        if not self.state.alarms and self.state.deadline is None:
            return False
        return (due := next_due(self.state)) is not None and due <= self.now

    def _fire(self, key: str) -> None:
        task = self.state.tasks[key]
        if time_left(self.state, key, self.now) <= 0:
            self._give_up(key)
        elif task.status is TaskStatus.RETRYING:
            self._begin_attempt(key)
        elif self.state.children.get(task.child or 0) == key:
            self._next.signals += let_go(self.state, key)
            error = Failure("timeout", f"the child execution {task.child} took longer than the task's timeout", key)
            self._fail(key, Failed(error), 0.0)
        elif task.awaiting is None:
            self._complete(ev.TaskCompleted(key, task.output))
        else:
            if key in self.state.asking:
                self._next.lapses += (WaitLapse(key, Lapse.TIMEOUT),)
            if task.otherwise is None:
                self._say(outcomes.unanswered(key, task.awaiting, task.reason))
            else:
                self._answer(key, task.otherwise)

    def _give_up(self, key: str) -> None:
        """Its `total_timeout` is over, whatever it waits for."""
        for event in overdue(self.state, key):
            self._cut(event)

    def _cut(self, event: ev.TaskCancelled | ev.TaskFailed) -> None:
        """Ends a task from outside: whatever it waits for, in line or asked of others, it waits for no more."""
        if event.task in self.state.asking:
            lapse = Lapse.CLOSED if isinstance(event, ev.TaskCancelled) else Lapse.TIMEOUT
            self._next.lapses += (WaitLapse(event.task, lapse),)
        if self.state.children:
            self._next.signals += let_go(self.state, event.task)
        self._say(event)
        self._stop(event.task)

    def _answer(self, key: str, answer: Answer) -> None:
        if answer.raised is None:
            self._complete(outcomes.answered(self.state.graph.by_key[key], key, answer))
        else:
            self._say(ev.BudgetRaised(key, answer.raised.cost, answer.raised.tokens))
            self._begin_attempt(key)

    def _complete(self, event: ev.TaskCompleted | ev.TaskFailed) -> None:
        """The end of a wait."""
        try:
            outcomes.check_way(self.state.graph.by_key[event.task], event)
        except TaskError as error:
            self._say(ev.TaskFailed(event.task, Failure(error.type, error.message, event.task)))
        else:
            self._say(event)

    # --- children ---

    def _open_child(self, key: str, opening: Opening, elapsed: float) -> None:
        try:
            self._next.children += (child_of(self.state, opening),)
        except TaskError as error:
            self._fail(key, Failed(Failure(error.type, error.message, key), error.retryable), elapsed)
            return
        number = opening.execution_id
        timeout = self.state.graph.by_key[key].task.timeout if opening.wait else None
        self._say(ev.ChildStarted(key, number, opening.wait, timeout))
        if not opening.wait:
            self._complete(ev.TaskCompleted(key, {"execution_id": number}, elapsed=elapsed))

    def _child_ended(self, end: ChildEnd) -> None:
        key = self.state.children.get(end.execution_id)
        if key is None:
            return  # its task waits no more
        failure = end.failure(key)
        if failure is None:
            self._complete(ev.TaskCompleted(key, end.output))
        else:
            self._fail(key, Failed(failure), 0.0)

    # --- deciding ---

    def _decide(self) -> None:
        if not self.state.stopping:
            self.state.failed = overstepped(self.state, self.now)
        while True:
            self.state.now = self.now
            decision = plan(self.state)
            for event in decision.settle:
                if isinstance(event, ev.TaskCancelled):
                    self._cut(event)
                    continue
                self._say(event)
                if self.state.stopping:
                    break
            for key in decision.start:
                self._begin_attempt(key)
            if decision.end is not None:
                self._say(decision.end)
            if not decision.settle and not decision.start:
                return

    def _is_full(self) -> bool:
        """Whether its history is at its bound: it ends; what undoes it is tried once, and hears what it waits for."""
        return self.state.seq > limits.HISTORY

    def _stop(self, key: str) -> None:
        """The task was ended: it leaves the line, its attempt is told to stop, and what follows may have its slot."""
        self.wanted.discard(key)
        call = self.flying.pop(key, None)
        if call is not None:
            self._next.stop(call)
            self._spare += 1

    def _begin_attempt(self, key: str) -> None:
        if self.state.bars(key) or (self.tickets is not None and not self._is_admitted(key)):
            return
        if self._spare and not self._slots.closed and self._may_keep():
            self._spare -= 1
            self._launch(key)
        elif self._slots.take():
            self._launch(key)
        else:
            self._schedule(key)
            self._queue(key)

    def _schedule(self, key: str) -> None:
        """It may start and waits; a lost attempt has already said so."""
        known = self.state.tasks.get(key)
        if known is None or known.status is not TaskStatus.SCHEDULED:
            self._say(ev.TaskScheduled(key))

    def _may_keep(self) -> bool:
        """Whether a slot given back goes to what follows: not for ever while others wait."""
        if not self._slots.crowded:
            return True
        self._kept = self._kept + 1 if self._kept < KEPT else 0
        return self._kept > 0

    def _is_admitted(self, key: str) -> bool:
        """Whether nothing but a slot of this engine keeps it from starting; else it stands in line for its pools."""
        if self.tickets is None:
            return True
        try:
            admitted = self.tickets.admits(key, self.state)
        except TaskError as error:
            self._say(ev.TaskFailed(key, Failure(error.type, f"concurrency_key: {error.message}", key)))
            return False
        if not admitted:
            self._schedule(key)
        return admitted

    def _go_on(self, call: TaskCall) -> None:
        """An attempt that began under the former owner and still runs."""
        self._slots.force()
        self.flying[call.address] = call
        if self.tickets is not None:
            self.tickets.runs(call.address, self.state)

    def _queue(self, key: str) -> None:
        self.wanted.add(key)
        self._slots.wait(lambda: self._grant(key))

    def _grant(self, key: str) -> bool:
        if self.dropped or key not in self.wanted:
            return False
        self.wanted.discard(key)
        self._granted.append(key)
        self._wake(self)
        return True

    def _use_slot(self, key: str) -> None:
        if self.state.tasks[key].status is TaskStatus.SCHEDULED and not self.state.bars(key):
            self._launch(key)
        else:
            self._spare += 1

    def _launch(self, key: str) -> None:
        """With a slot held: writes `TaskStarted` and prepares the call; a config that cannot be rendered fails."""
        known: TaskState | None = self.state.tasks.get(key)
        attempt = 1 if known is None else known.attempt + 1
        left = time_left(self.state, key, self.now)
        if left <= 0:
            self._spare += 1
            self._give_up(key)
            return
        try:
            call = call_of(self.state, key, attempt, self.now, left)
        except TaskError as error:
            self._spare += 1
            self._say(ev.TaskFailed(key, Failure(error.type, error.message, key)))
            return
        self._say(ev.TaskStarted(key, attempt))
        self.flying[key] = call
        self._next.calls.append(call)

    def _say(self, event: ev.Event) -> None:
        self._record(event, ev.encode(event))

    def _record(self, event: ev.Event, record: ev.EventRecord) -> None:
        self._next.events.append(event)
        self._next.records.append(record)
        apply(self.state, event, len(record.data))
        if self.tickets is not None:
            self.tickets.note(event)

    # --- the append ---

    def _finish(self, *, given: bool = False) -> Step:
        park = AT_ONCE if given else None
        if is_terminal(self.state.status):
            self.drop()
            self._next.signals += told_parent(self.state)
        elif not given and self._only_waits():
            for_slots = self.tickets is not None and bool(self.tickets.line)
            park = self._next.park(self.state, for_slots=for_slots)
        return self._next.finish(self.state, self.tickets, park)

    def _only_waits(self) -> bool:
        """Whether it needs no memory: nothing runs or waits for a slot, but of pools, and that for long."""
        return not self.state.busy or (self.tickets is not None and self.tickets.may_park(self.state.busy))
