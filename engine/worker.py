"""An engine: it holds one lease, owns executions, and moves them.

Data goes one way: claim or start -> run -> write queue -> executor -> run -> write queue -> watchers. A run with
news is *dirty*; dirty runs without an append in flight are advanced together, once after each batch or result.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import structlog

from engine.child_starts import ChildStarts
from engine.children import Opening
from engine.dbclock import DatabaseClock
from engine.dispatch import Dispatch
from engine.errors import Exhausted, LeaseLost, MillraceError, Refused, StoreUnavailable
from engine.events import StoredEvent
from engine.failpoints import hit
from engine.journal import WriteQueue
from engine.kept import KeptStates
from engine.library import Entry, Library
from engine.model import ExecutionRow, Failed, Failure, Result, StartChild, TaskCall
from engine.pools import Pools, Tickets
from engine.ports import WHOLE_HISTORY, Committed, NewExecution, Park, Signal, SlotGrant, Store
from engine.progress import Progress
from engine.runner import Run
from engine.slots import Slots
from engine.state import State, derived_status
from engine.states import ExecutionStatus
from engine.steps import Step
from engine.task_ports import Executor
from engine.waking import Waker

log = structlog.get_logger(__name__)

MAX_OWNED = 10_000
"""Executions in memory; beyond that, starts are left to other engines or to later."""
MAX_QUEUED = 20_000
"""Appends that wait for a commit; beyond that, starts are refused."""
CLAIM = 200
"""Executions taken by one claim."""
CLAIM_CROWDED = 20
"""The same while tasks wait here for a slot, so that engines with free ones are quicker."""
LAST_APPENDS = 5.0
"""Seconds that the last appends may take when the engine stops."""

Started = Callable[[Committed | MillraceError], None]


class Terms(NamedTuple):
    """What an engine is held to."""

    holder: str
    """Who it is, for people who look at leases."""
    lease_seconds: float
    max_tasks: int
    """Attempts at once."""
    stop_seconds: float = 0.0
    """How long running attempts may go on when it is asked to stop."""


class Worker:
    """Runs executions under one lease at a time; `start` again takes a new one."""

    def __init__(
        self,
        store: Store,
        library: Library,
        executors: Mapping[str, Callable[[], Executor]],
        default_executor: str,
        progress: Progress,
        terms: Terms,
    ) -> None:
        self.store = store
        self.lease = 0
        self.lease_seconds = terms.lease_seconds
        self.clock = DatabaseClock()
        self.waker = Waker(store, progress)
        self.wake_claims = self.waker.claims
        self.next_look = math.inf
        """Until when (the database's clock) the claims caretaker sleeps: only earlier timers wake it."""
        self.outside = asyncio.Event()
        """Set when a task has published an event, or waits for one that may have come before."""
        self.runs: dict[int, Run] = {}
        self.child_starts: ChildStarts | None = None
        """Without it no task starts children."""
        self._library = library
        self._dispatch = Dispatch(executors, default_executor, self.report)
        self._terms = terms
        self._slots = Slots(terms.max_tasks)
        self._queue = WriteQueue(store, self.waker.settled)
        self._queue.on_lost = self._on_lost
        self._pools = Pools(store, self.granted, self.lost)
        self._kept = KeptStates()
        self._dirty: list[Run] = []
        self._flush_soon = False
        self._recovering: asyncio.Task[None] | None = None
        self._draining = False
        self._stopping = False
        self.unsure = False
        """Whether the database may hold executions as ours that are not in memory."""

    # --- life cycle ---

    async def start(self) -> None:
        """Takes a lease and begins to commit. Raises `ConfigurationError` when the default executor cannot start."""
        await self._dispatch.start()
        asked = time.monotonic()
        self.lease = await self.store.acquire_lease(self._terms.holder, self.lease_seconds)
        self.renewed(asked)
        self._queue.start(self.lease)
        self._pools.start(self.lease)
        self.wake_claims.set()
        log.info("engine started", lease=self.lease)

    async def stop(self) -> None:
        """Begins nothing more, lets what runs end for a while, and hands every execution over with its last append."""
        if self._recovering:
            self._recovering.cancel()
        await self._drain()
        self._stopping = True
        await self._queue.stop()
        await self._pools.stop()
        self._drop_all()
        if self.child_starts is not None:
            await self.child_starts.stop()
        try:
            await self.store.release_lease(self.lease)
        except MillraceError as error:
            log.warning("lease not released; it will expire", lease=self.lease, error=str(error))
        await self._dispatch.stop()

    async def _drain(self) -> None:
        self._draining = True
        self._slots.close()
        loop = asyncio.get_running_loop()
        grace = loop.time() + self._terms.stop_seconds
        while self.runs and loop.time() < grace + LAST_APPENDS:
            for run in list(self.runs.values()):
                self._release(run, stop=loop.time() >= grace)
            await asyncio.sleep(0.01)

    def _release(self, run: Run, *, stop: bool) -> None:
        """Gives a run away when nothing of it runs in this process, or what does is to `stop`."""
        if run.committing or run.dropped or run.has_news:
            return
        mine = [call for call in run.flying.values() if not self._dispatch.outlives(call)]
        if not mine or stop:
            self._give(run, mine)

    def _give(self, run: Run, stopped: Sequence[TaskCall] = ()) -> None:
        flying = list(run.flying.values())
        step = run.hand_over(stopped)
        self._dispatch.detach(flying)
        run.committing = True
        self._queue.put(step.append, partial(self._committed, run, step, None))

    def share(self, slots: int) -> None:
        """Another engine has `slots` free ones: it gets up to half of what only waits for a slot here."""
        waiting = [r for r in self.runs.values() if r.wanted and not (r.flying or r.committing or r.has_news)]
        for run in waiting[len(waiting) - min(slots, (len(waiting) + 1) // 2) :]:
            self._give(run)

    @property
    def crowded(self) -> bool:
        """Whether tasks wait here for a slot that another engine may have."""
        return self._slots.crowded

    @property
    def free_slots(self) -> int:
        return self._slots.free if self.accepts else 0

    def _on_lost(self) -> None:
        if self._recovering is None and not self._stopping:
            self._recovering = asyncio.create_task(self._recover(), name="engine-recover")

    def renewed(self, asked: float) -> None:
        """The lease holds for its length from `asked` on, when that was asked for, by the monotonic clock."""
        self._dispatch.trust(asked + self.lease_seconds)

    def lost(self) -> None:
        """Somebody marked our lease lost: what we own is no longer ours."""
        self._queue.lose()
        self._on_lost()

    async def _recover(self) -> None:
        log.warning("lease lost; going on under a new one", lease=self.lease)
        self._drop_all()
        while True:
            try:
                await self.start()
            except StoreUnavailable:
                await asyncio.sleep(0.5)
            else:
                self._recovering = None
                return

    def _drop_all(self) -> None:
        for run in list(self.runs.values()):
            self._dispatch.detach(run.drop())
        self.runs.clear()
        self._dirty.clear()

    # --- starting and taking executions ---

    @property
    def has_room(self) -> bool:
        """Whether a start should be owned here at once. Raises `Exhausted` when the write queue is full."""
        if len(self._queue) > MAX_QUEUED:
            raise Exhausted("too many writes wait for the database; try again in a moment")
        return self.accepts and bool(self.lease)

    @property
    def accepts(self) -> bool:
        """Whether it may claim."""
        return len(self.runs) < MAX_OWNED and self._recovering is None and not (self._draining or self._stopping)

    def begin(self, execution_id: int, entry: Entry, start: NewExecution, value: Any, done: Started) -> ExecutionStatus:
        """A new execution, owned at once: its row, first plan and first attempts are one append.

        Answers the status that this append gives it; `done` is told when it is durable.
        """
        run = self._new_run(execution_id, entry)
        run.now = self.clock.now()
        run.begin(start, value)
        self._advance(run, done)
        return derived_status(run.state)

    async def claim(self) -> int:
        """Takes due executions and goes on with them; answers how many."""
        hit("claim.before")
        try:
            claims = await self.store.claim(self.lease, CLAIM_CROWDED if self.crowded else CLAIM)
            hit("claim.after")
            self.clock.observe(claims.now)
            if claims.executions:
                await self._load(claims.executions, claims.now)
        except BaseException:
            self.unsure = True
            raise
        return len(claims.executions)

    async def reconcile(self) -> None:
        """Reads again what is ours by the database and not in memory: after a refused append, or a lost answer."""
        lease = self.lease
        self.unsure = False
        try:
            missing = [i for i in await self.store.owned(lease) if i not in self.runs]
            rows = await self.store.get_executions(missing) if missing else {}
            mine = [row for row in rows.values() if row.owner == lease and row.id not in self.runs]
            if mine:
                await self._load(mine, self.clock.now())
        except BaseException:
            self.unsure = True
            raise

    async def _load(self, rows: Sequence[ExecutionRow], now: float) -> None:
        lease = self.lease
        entries = await self._library.get(sorted({row.version_id for row in rows}))
        kept = {row.id: state for row in rows if (state := self._kept.take(row.id)) is not None}
        known = {row.id: kept[row.id].seq if row.id in kept else 0 for row in rows}
        histories = await self.store.read_events(known, WHOLE_HISTORY)
        if lease != self.lease:
            return
        hit("load.after")
        for row in rows:
            self._admit(row, entries, kept.get(row.id), histories.get(row.id, []), now)
        runs = [self.runs[row.id] for row in rows if row.id in self.runs]
        try:
            await self._load_tickets(runs)
            # read after they are in memory: a signal that comes later is told to a run that is there
            inbox = await self.store.inbox(lease, [row.id for row in rows])
            self._resume([run for run in runs if not run.dropped])
        except BaseException:
            for run in runs:
                run.drop()
                self._forget(run)
            raise
        self.take_signals(inbox)

    async def _load_tickets(self, runs: Sequence[Run]) -> None:
        """Read after they are in memory, as the inbox is: a grant that comes later is told to a run that is there."""
        tickets = {run.state.execution_id: (run.tickets, run.state.active) for run in runs if run.tickets is not None}
        slots = await self.store.get_slots(list(tickets)) if tickets else []
        for number, (mine, active) in tickets.items():
            mine.load((slot for slot in slots if slot.execution_id == number), active)

    def _resume(self, runs: Sequence[Run]) -> None:
        """Asks the executors which of the attempts that the journal says run they may still know."""
        running = {run.state.execution_id: run.running() for run in runs}
        known = {id(call) for call in self._dispatch.attach([call for mine in running.values() for call in mine])}
        for run in runs:
            run.committing = False
            run.resume(running[run.state.execution_id], known)
            self._mark(run)

    def _admit(
        self, row: ExecutionRow, entries: Mapping[int, Entry], kept: State | None, news: list[StoredEvent], now: float
    ) -> None:
        """One that cannot be read harms no other; it stays ours, and untouched, until this lease ends."""
        try:
            run = self._new_run(row.id, entries[row.version_id], row)
            run.committing = True  # nothing moves before `_resume`
            run.load(news, now, kept)
        except Exception:
            log.exception("execution cannot be read; it is left alone", execution=row.id)
            broken = self.runs.pop(row.id, None)
            if broken is not None:
                broken.drop()

    def _new_run(self, execution_id: int, entry: Entry, row: ExecutionRow | None = None) -> Run:
        status = None if row is None else row.status
        run = self.runs[execution_id] = Run(execution_id, entry.graph, self._slots, self._mark, status)
        if entry.graph.limited:
            run.tickets = Tickets(entry.version.workflow_id, loaded=row is None)
        return run

    # --- what arrives ---

    def report(self, call: TaskCall, result: Result | Opening, elapsed: float) -> None:
        """An executor's result. Never raises; a call that nobody waits for any more is dropped."""
        run = self.runs.get(call.execution_id)
        if run is None:
            return
        if isinstance(result, StartChild):
            if self.child_starts is not None:
                self.child_starts.find(call, result, elapsed, self.report)
                return
            result = Failed(
                Failure("no_children", "this engine starts no child executions", call.task), retryable=False
            )
        try:
            hit("result.before")
            run.result(call, result, elapsed)
        except Exception as error:
            self._restart(run, error)
        else:
            self._mark(run)

    def take_signals(self, signals: Sequence[Signal]) -> None:
        """Signals of executions that are in memory; one that has just been parked is due at once."""
        for signal in signals:
            run = self.runs.get(signal.execution_id)
            if run is None:
                self.wake_claims.set()
            else:
                run.signal(signal)
                self._mark(run)

    def granted(self, grants: Sequence[SlotGrant]) -> None:
        """Tasks hold their slots of pools: they go on here, or whoever has, or may take, their execution is woken."""
        for grant in grants:
            run = self.runs.get(grant.execution_id)
            if run is not None:
                run.admit(grant.task)
        if any(grant.owner is None for grant in grants):
            self.wake_claims.set()
            self.store.notify("claim")
        others = [grant.execution_id for grant in grants if grant.owner not in (None, self.lease)]
        if others:
            self.store.notify("slot", others)

    def _mark(self, run: Run) -> None:
        if not run.dirty and not run.committing:
            run.dirty = True
            self._dirty.append(run)
            if not self._flush_soon:
                self._flush_soon = True
                asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_soon = False
        while self._dirty and not self._stopping:
            runs, self._dirty = self._dirty, []
            for run in runs:
                run.dirty = False
                if not run.committing and not run.dropped:
                    self._advance(run)

    # --- one step ---

    def _advance(self, run: Run, done: Started | None = None) -> None:
        try:
            hit("step.before")
            run.now = max(run.now, self.clock.now())
            step = run.advance()
            hit("step.after")
        except Exception as error:
            self._restart(run, error)
            if done is not None:
                done(Refused(f"execution {run.state.execution_id} could not be planned"))
            return
        if step is None:
            if run.tickets is not None:
                self._pools.follow(run.tickets)
            self._idle(run)
            return
        run.committing = True
        self._queue.put(step.append, partial(self._committed, run, step, done))

    def _committed(self, run: Run, step: Step, done: Started | None, answer: Committed | MillraceError) -> None:
        run.committing = False
        append = step.append
        if not isinstance(answer, Committed):
            self._refused(run, answer)
        elif (known := answer.duplicates.get(append.execution_id)) is not None:
            run.drop()
            self._forget(run)
            self.unsure |= known.execution_id == append.execution_id  # our own, stored by a try whose answer was lost
        else:
            self.clock.observe(answer.at)
            try:
                self._follow(run, step, answer.at)
            except Exception as error:
                self._restart(run, error)
        if done is not None:
            done(answer)

    def _follow(self, run: Run, step: Step, at: float) -> None:
        """What a durable step lets happen."""
        self.waker.note(step.append, ended=step.ended)
        if step.outside:
            self.outside.set()
        if run.tickets is not None:
            self._pools.follow(run.tickets)
        if step.cancels:
            self._dispatch.cancel(step.cancels)
        if step.ended or step.parked:
            self._forget(run)
            if step.parked:
                run.committed(step, at)
                self._kept.keep(run.state)
                self._parked(step.append.park, at)
                if run.has_news:
                    self.wake_claims.set()
                run.drop()  # slots that came while it was being parked
            return
        if run.dropped or self._stopping:
            return
        run.committed(step, at)
        if step.calls:
            hit("dispatch.before")
            self._dispatch.submit(step.calls)
            hit("dispatch.after")
        if run.has_news:
            self._mark(run)
        else:
            self._idle(run)

    def _parked(self, park: Park | None, at: float) -> None:
        if park is None:
            return
        dues = (at + park.wake_in if park.wake_in is not None else None, park.wake_at)
        due = min((due for due in dues if due is not None), default=math.inf)
        if due < self.next_look:
            self.wake_claims.set()
        if due <= at and self.store.shared:
            self.store.notify("claim")

    def _refused(self, run: Run, error: MillraceError) -> None:
        """Our memory is not what the journal says: forget it, and read again what is still ours."""
        if isinstance(error, LeaseLost):
            self._dispatch.detach(run.drop())
            self._forget(run)
        else:
            self._restart(run, error)

    def _restart(self, run: Run, error: Exception) -> None:
        """Forgets the execution and reads it again if it is still ours."""
        log.error("execution is read again from its journal", execution=run.state.execution_id, exc_info=error)
        self._dispatch.detach(run.drop())
        self._forget(run)
        self.unsure = True
        self.wake_claims.set()

    def _forget(self, run: Run) -> None:
        run.dropped = True
        if self.runs.get(run.state.execution_id) is run:
            del self.runs[run.state.execution_id]

    def _idle(self, run: Run) -> None:
        """Nothing to do for this run now: its next timer, if any, is set."""
        due = run.next_due()
        if due is not None and (run.alarm is None or due < run.alarm):
            run.alarm = due
            delay = max(0.0, due - self.clock.now())
            asyncio.get_running_loop().call_later(delay, self._tick, run)

    def _tick(self, run: Run) -> None:
        run.alarm = None
        run.now = max(run.now, self.clock.now())
        if not run.dropped and not run.committing:
            if run.has_news:
                self._mark(run)
            else:
                self._idle(run)
