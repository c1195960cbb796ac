"""What the doors call: one method per use case. Doors translate and never decide; this is where it is decided."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from engine import limits
from engine.action_book import ActionBook
from engine.approvals import Approvals
from engine.authoring import Form, Report, Saved, Written
from engine.cache_port import ResponseCache
from engine.caretakers.lag import LATE, LoopLag
from engine.documents import check_key, check_payload, check_value, digest
from engine.drafts import Drafts, Ref
from engine.dry_run import DryRuns
from engine.errors import AlreadyEnded, ExecutionNotFound, IdempotencyMismatch, Invalid, LeaseLost, MillraceError
from engine.events import ExecutionStarted, StoredEvent, encode
from engine.failpoints import hit
from engine.ids import ExecutionIds
from engine.keeper import Keeper
from engine.library import Entry
from engine.matching import Matching
from engine.model import DEFAULT_NAMESPACE, DraftTask, ExecutionRow, ExecutionView, Record, Workflow
from engine.ports import (
    Append,
    Committed,
    Cursor,
    Duplicate,
    ExecutionFilter,
    NewExecution,
    NewTask,
    NewWorkflow,
    Signal,
    Store,
    VersionRow,
)
from engine.progress import Progress
from engine.received import ReceivedEvent, Trigger
from engine.reception import Reception, start_key
from engine.sources import Source
from engine.state import State
from engine.states import ExecutionStatus, is_terminal
from engine.trials import Trials
from engine.triggers import Triggers
from engine.views import Folded, Views
from engine.waits import OWN
from engine.worker import Worker

POLL = 1.0
"""Seconds between looks of a watcher that nobody woke."""
CANCEL_WAIT = 2.0
"""Seconds that a cancel waits for its record."""
TERMINAL_TYPES = frozenset({"ExecutionCompleted", "ExecutionFailed", "ExecutionCancelled"})


class Started(Record, frozen=True):
    """The answer to a start. `replayed`: the idempotency key was known, and this is the execution it made."""

    execution_id: int
    workflow_id: int
    status: ExecutionStatus
    replayed: bool = False


class Health(Record, frozen=True, omit_defaults=False):
    """`checks` says `ok` or what is wrong, by part."""

    ok: bool
    checks: dict[str, str]


class WorkflowService:
    """All use cases. `worker` is None in a process without an engine; `hold` is as in `Reception`."""

    def __init__(  # noqa: PLR0913 — one call, by the composition root
        self,
        store: Store,
        drafts: Drafts,
        views: Views,
        progress: Progress,
        *,
        cache: ResponseCache | None,
        worker: Worker | None,
        lag: LoopLag,
        tell_inbox: Callable[[tuple[int, ...]], None],
        trials: Trials,
        secrets: Keeper,
        hold: float = 10.0,
        actions: ActionBook,
        dry_runs: DryRuns,
    ) -> None:
        self.cache = cache
        self.actions = actions
        self.dry_runs = dry_runs
        self.secrets = secrets
        self.trials = trials
        self.approvals = Approvals(store, views, self._told)
        self.notes: dict[str, Callable[[], str]] = {}
        """What else its health tells; nothing of it keeps this process from its work."""
        self._store = store
        self._drafts = drafts
        self._views = views
        self._progress = progress
        self._worker = worker
        self._lag = lag
        self._tell_inbox = tell_inbox
        self._ids = ExecutionIds(store)
        self.triggers = Triggers(store)
        matching = Matching(store, store, self._told)
        self.reception = Reception(store, self._start_for_event, matching, hold=hold)
        self.notes["triggers"] = self.reception.health

    # --- definitions ---

    async def create_workflow(self, new: NewWorkflow) -> Workflow:
        return await self._drafts.create(new)

    async def get_workflow(self, ref: Ref) -> Workflow:
        return await self._drafts.get(ref)

    async def list_workflows(self, skip: int, limit: int) -> tuple[list[Workflow], int]:
        return await self._drafts.page(skip, limit)

    async def update_workflow(self, ref: Ref, changes: Mapping[str, Any]) -> Workflow:
        return await self._drafts.update(ref, changes)

    async def archive_workflow(self, ref: Ref) -> None:
        await self._drafts.archive(ref)

    def is_document(self, value: Mapping[str, Any]) -> bool:
        """Whether it is a definition, not fields of a workflow of rows. Raises `InvalidDocument` if it is two."""
        return self._drafts.is_document(value)

    async def create_document(self, source: Source) -> Saved:
        return await self._drafts.create_document(source)

    async def replace_document(self, ref: Ref, source: Source) -> Saved:
        return await self._drafts.replace(ref, source)

    async def key_of_document(self, source: Source, fallback: str) -> str:
        return await self._drafts.key_of(source, fallback)

    async def register_document(self, source: Source, key: str) -> tuple[Workflow, str]:
        return await self._drafts.register(source, key)

    async def inspect_document(self, source: Source) -> Report:
        return await self._drafts.inspect(source)

    async def written_workflow(self, ref: Ref, form: Form) -> Written:
        return await self._drafts.written(ref, form)

    async def list_versions(self, ref: Ref, limit: int) -> list[VersionRow]:
        return await self._drafts.versions(ref, limit)

    async def written_version(self, ref: Ref, number: int, form: Form) -> Written:
        return await self._drafts.version(ref, number, form)

    async def rollback_workflow(self, ref: Ref, number: int) -> Workflow:
        return await self._drafts.rollback(ref, number)

    async def list_tasks(self, ref: Ref) -> list[DraftTask]:
        return await self._drafts.tasks(ref)

    async def get_task(self, ref: Ref, task_id: int) -> DraftTask:
        return await self._drafts.task(ref, task_id)

    async def add_task(self, ref: Ref, new: NewTask) -> DraftTask:
        return await self._drafts.add_task(ref, new)

    async def update_task(self, ref: Ref, task_id: int, changes: Mapping[str, Any]) -> DraftTask:
        return await self._drafts.update_task(ref, task_id, changes)

    async def delete_task(self, ref: Ref, task_id: int) -> None:
        await self._drafts.delete_task(ref, task_id)

    # --- starting ---

    async def execute_workflow(
        self,
        ref: Ref,
        input: Any = None,  # noqa: A002
        *,
        idempotency_key: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Started:
        """Durable on return. Raises `WorkflowNotFound`, `InvalidWorkflow`, `IdempotencyMismatch`, `Exhausted`."""
        check_key(idempotency_key)
        _check_labels(labels)
        return await self._start(ref, input, idempotency_key, labels)

    async def _start(
        self, ref: Ref, given: Any, idempotency_key: str | None, labels: Mapping[str, str] | None, depth: int = 0
    ) -> Started:
        """`depth` counts the events that led to it."""
        value = {} if given is None else given
        check_payload(value, "input")
        workflow_id, entry = await self._drafts.current(ref)
        worker = self._worker
        owned = worker is not None and worker.has_room
        start = NewExecution(
            DEFAULT_NAMESPACE,
            workflow_id,
            entry.version.id,
            ExecutionStatus.PENDING,
            owned,
            idempotency_key,
            digest([value, dict(labels or {})]) if idempotency_key is not None else b"",
            dict(labels or {}),
            depth=depth,
        )
        execution_id = await self._ids.next()
        hit("start.before")
        status = ExecutionStatus.PENDING
        if worker is not None and owned:
            committed, status = await self._begin(worker, execution_id, entry, start, value)
        else:
            committed = await self._leave(execution_id, start, value)
        hit("start.after")
        duplicate = committed.duplicates.get(execution_id)
        if duplicate is not None:
            return await self._replayed(duplicate, start)
        self._views.began(_row_of(execution_id, start, committed.at))
        return Started(execution_id, workflow_id, status)

    async def _start_for_event(self, trigger: Trigger, event: ReceivedEvent, payload: Any) -> int:
        labels = {"event": str(event.id), "trigger": str(trigger.id)}
        key = start_key(trigger, event)
        started = await self._start(trigger.workflow_id, payload, key, labels, event.depth)
        return started.execution_id

    async def _begin(
        self, worker: Worker, execution_id: int, entry: Entry, start: NewExecution, value: Any
    ) -> tuple[Committed, ExecutionStatus]:
        """Owned here at once. If the lease is lost meanwhile nothing was written, and any engine may take it."""
        answer: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        status = worker.begin(execution_id, entry, start, value, partial(_answer, answer))
        try:
            return await answer, status
        except LeaseLost:
            left = msgspec.structs.replace(start, owned=False)
            return await self._leave(execution_id, left, value), ExecutionStatus.PENDING

    async def _leave(self, execution_id: int, start: NewExecution, value: Any) -> Committed:
        """Starts for any engine to take."""
        event = encode(ExecutionStarted(value, start.depth))
        committed = await self._store.start([Append(execution_id, 1, (event,), start)])
        self._wake_claims()
        return committed

    def _wake_claims(self) -> None:
        if self._worker is not None:
            self._worker.wake_claims.set()
        self._store.notify("claim")

    async def _replayed(self, duplicate: Duplicate, start: NewExecution) -> Started:
        if duplicate.request_digest != start.request_digest:
            raise IdempotencyMismatch()
        view = await self._views.get(duplicate.execution_id)
        return Started(view.id, view.workflow_id, view.status, True)

    # --- executions ---

    async def get_execution(self, execution_id: int) -> ExecutionView:
        return await self._views.get(execution_id)

    async def wait(self, execution_id: int, seconds: float) -> ExecutionView:
        """The execution when it has ended, or after `seconds` (at most `limits.WAIT`)."""
        if not 0 <= seconds <= limits.WAIT:
            raise Invalid(f"wait is in seconds, between 0 and {limits.WAIT:g}", pointer="/wait")
        deadline = asyncio.get_running_loop().time() + seconds
        with self._progress.await_end(execution_id) as news:
            if seconds and self._runs_here(execution_id):
                await _wait(news, min(seconds, POLL))
            folded = await self._until(execution_id, news, deadline, lambda state: is_terminal(state.status))
            return await self._views.render(folded)

    async def _until(
        self, execution_id: int, news: asyncio.Event, deadline: float, reached: Callable[[State], bool]
    ) -> Folded:
        """The execution when `reached` holds of it, or when the loop's clock is at `deadline`."""
        loop = asyncio.get_running_loop()
        while True:
            news.clear()
            folded = await self._views.fold(execution_id)
            left = deadline - loop.time()
            if reached(folded.state) or left <= 0:
                return folded
            await _wait(news, min(left, POLL))

    def _runs_here(self, execution_id: int) -> bool:
        """Whether its end will be told in this process, so that looking for it before is of no use."""
        return self._worker is not None and execution_id in self._worker.runs

    async def list_executions(
        self,
        *,
        workflow: Ref | None = None,
        statuses: tuple[ExecutionStatus, ...] = (),
        created_from: float | None = None,
        created_to: float | None = None,
        parent: int | None = None,
        after: Cursor | None = None,
        limit: int = 100,
    ) -> list[ExecutionRow]:
        """A page, newest first. Raises `WorkflowNotFound` for a key that does not exist."""
        if not 1 <= limit <= limits.PAGE:
            raise Invalid(f"limit is between 1 and {limits.PAGE}", pointer="/limit")
        if isinstance(workflow, str):
            workflow = (await self._drafts.get(workflow)).id
        where = ExecutionFilter(DEFAULT_NAMESPACE, workflow, statuses, created_from, created_to, parent)
        return await self._store.list_executions(where, after, limit)

    async def read_events(self, execution_id: int, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """Events with `seq > after`. Raises `ExecutionNotFound`."""
        if after < 0 or not 1 <= limit <= limits.HISTORY:
            raise Invalid(f"after is at least 0 and limit between 1 and {limits.HISTORY}", pointer="/after")
        events = (await self._store.read_events({execution_id: after}, limit)).get(execution_id, [])
        if not events and execution_id not in await self._store.get_executions([execution_id]):
            raise ExecutionNotFound(f"there is no execution {execution_id}; list them with GET /executions")
        return events[:limit]

    async def watch(self, execution_id: int, after: int = 0) -> AsyncGenerator[StoredEvent, None]:
        """Events with `seq > after`, as they are committed; ends after the last one of an ended execution."""
        with self._progress.follow(execution_id) as news:
            while True:
                news.clear()
                events = await self.read_events(execution_id, after)
                for event in events:
                    yield event
                    after = event.seq
                if events and events[-1].type in TERMINAL_TYPES:
                    return
                if not events:
                    state = (await self._views.fold(execution_id)).state
                    if not is_terminal(state.status):
                        await _wait(news, POLL)
                    elif state.seq <= after:  # else it ended between the two reads
                        return

    # --- signals ---

    async def cancel_execution(self, execution_id: int, reason: str | None = None) -> ExecutionStatus | None:
        """`cancelled` or `compensating` when it is recorded; None when it is asked for and not yet recorded.

        Raises `AlreadyEnded`, also when it has failed and only compensates.
        """
        state = (await self._views.fold(execution_id)).state
        if is_terminal(state.status):
            raise AlreadyEnded.of(execution_id, state.status)
        if state.status is not ExecutionStatus.COMPENSATING:
            await self._put(Signal(execution_id, "cancel", "cancel", msgspec.json.encode(reason), "cancel"))
            deadline = asyncio.get_running_loop().time() + CANCEL_WAIT
            with self._progress.follow(execution_id) as news:
                state = (await self._until(execution_id, news, deadline, _has_stopped)).state
        if state.status is ExecutionStatus.CANCELLED:
            return state.status
        if state.status is ExecutionStatus.COMPENSATING and state.cancelling:
            return state.status
        if _has_stopped(state):
            status = "failed, and compensates," if state.status is ExecutionStatus.COMPENSATING else state.status
            raise AlreadyEnded(f"execution {execution_id} was {status} before the cancel was recorded")
        return None

    async def signal_execution(
        self, execution_id: int, name: str, payload: Any = None, dedupe_key: str | None = None
    ) -> bool:
        """Durable on return; False: this `dedupe_key` was there already. Raises `AlreadyEnded`."""
        if not 0 < len(name) <= limits.NAME or name.startswith(OWN):
            message = f"a signal's name has 1 to {limits.NAME} characters, the first not {OWN!r}"
            raise Invalid(message, pointer="/name")
        check_value({"name": name})
        check_key(dedupe_key)
        data = check_payload(payload, "payload")
        key = None if dedupe_key is None else f"event:{dedupe_key}"
        if key is not None and await self._views.heard(execution_id, key) is not None:
            return False
        stored = await self._put(Signal(execution_id, "event", name, data, key))
        # the one that was there may have left the inbox for the journal since we looked: the first one heard counts
        heard = None if key is None else await self._views.heard(execution_id, key)
        if heard is not None:
            return heard == stored
        if stored is None:
            state = (await self._views.fold(execution_id)).state
            if is_terminal(state.status):
                raise AlreadyEnded.of(execution_id, state.status)
        return stored is not None

    async def _put(self, signal: Signal) -> int | None:
        hit("signal.before")
        stored = (await self._store.put_signals([signal]))[0]
        hit("signal.after")
        if stored is not None:
            self._told([signal.execution_id])
        return stored

    def _told(self, executions: Sequence[int]) -> None:
        """These have something new in their inbox."""
        self._tell_inbox(tuple(executions))
        self._wake_claims()
        self._store.notify("signal", executions)

    # --- health ---

    async def health(self) -> Health:
        """Whether this process can do its work: its loop turns, its database answers, its engine has a lease."""
        lag = self._lag.seconds()
        checks = {"loop": "ok" if lag < LATE else f"blocked for {lag:.1f} s", "database": await self._ping()}
        if self._worker is not None:
            checks["engine"] = "ok" if self._worker.accepts else "recovering a lease, or full"
        notes = {name: note() for name, note in self.notes.items()}
        return Health(all(check == "ok" for check in checks.values()), checks | notes)

    async def _ping(self) -> str:
        try:
            async with asyncio.timeout(2):
                await self._store.ping()
        except (MillraceError, TimeoutError) as error:
            return f"unreachable: {str(error) or 'no answer in 2 s'}"
        return "ok"


def _row_of(execution_id: int, start: NewExecution, at: float) -> ExecutionRow:
    """The row as its first commit made it, at `at`."""
    return ExecutionRow(
        execution_id,
        start.namespace,
        start.workflow_id,
        start.version_id,
        start.status,
        None,
        None,
        start.idempotency_key,
        at,
        None,
        None,
        start.labels,
        start.priority,
        start.queue,
        start.parent_id,
        start.root_id,
        start.rerun_of,
    )


def _has_stopped(state: State) -> bool:
    """Whether its end is decided."""
    return is_terminal(state.status) or state.status is ExecutionStatus.COMPENSATING


def _answer(answer: "asyncio.Future[Committed]", result: Committed | MillraceError) -> None:
    if answer.done():
        return
    if isinstance(result, Committed):
        answer.set_result(result)
    else:
        answer.set_exception(result)


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        pass


def _check_labels(labels: Mapping[str, str] | None) -> None:
    for key, value in (labels or {}).items():
        if len(labels or {}) > limits.LABELS or len(key) > limits.NAME or len(value) > limits.NAME:
            message = f"at most {limits.LABELS} labels of at most {limits.NAME} characters each"
            raise Invalid(message, pointer="/labels")
    if labels:
        check_value({"labels": dict(labels)})
