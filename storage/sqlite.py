"""SQLite in one file, for one process: one thread writes, a few read, an OS file lock keeps others out."""

import asyncio
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from sqlalchemy import Connection, QueuePool, create_engine, literal
from sqlalchemy.exc import SQLAlchemyError

from engine.actions import Action, NewAction
from engine.errors import ConfigurationError, MillraceError, StoreUnavailable
from engine.events import StoredEvent
from engine.model import Envelope, ExecutionRow, Workflow, WorkflowVersion
from engine.outbox import Outbox, Position, RelayTerm
from engine.ports import (
    WHOLE_HISTORY,
    Append,
    Claims,
    Committed,
    Cursor,
    ExecutionFilter,
    NewWorkflow,
    PoolSlot,
    Signal,
    SlotGrant,
    SlotPool,
    Store,
    TaskEdit,
    VersionRow,
)
from engine.received import EventWait, NewReceived, ReceivedEvent, Trigger, TriggerSpec, WokenByEvent
from engine.secrets import Secret
from engine.waits import Decision, Wait, WaitFilter
from storage import (
    pages,
    schema,
    sqlite_journal,
    sqlite_outbox,
    sqlite_reads,
    sqlite_received,
    sqlite_slots,
    sqlite_waits,
    waits,
)
from storage.coalesce import Coalescer
from storage.columns import Instant, from_microseconds, to_microseconds
from storage.draft_cache import DraftCache
from storage.drafts import CompileDraft, Drafts
from storage.sqlite_writer import Clock, Work, Writer

T = TypeVar("T")
READERS = 3


def open_store(url: str, *, engine: bool = False) -> Store:
    """A store that is not yet open. Raises `ConfigurationError`."""
    return SQLiteStore(url)


class SQLiteStore:
    """Satisfies `engine.ports.Store`."""

    shared: ClassVar[bool] = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._path = str(Path(str(schema.parse_url(url).database)).absolute())
        self._clock = Clock()
        self._drafts = DraftCache()
        self._identity = secrets.token_hex(8)
        self._lock: int | None = None
        self._events = Coalescer(self._ask(sqlite_reads.events))
        self._executions = Coalescer(self._ask(sqlite_reads.executions))
        self._revisions = Coalescer(self._ask(sqlite_reads.revisions))

    # --- life ---

    async def open(self) -> None:
        await asyncio.to_thread(self._prepare)
        self._engine = create_engine("sqlite://", creator=self._connect, poolclass=QueuePool, pool_size=READERS)
        self._threads = ThreadPoolExecutor(READERS, "sqlite-reader")
        self._writer = Writer(self._path, self._clock, self._drafts.clear)
        try:
            await self._writer.submit(lambda work: work.db.execute("SELECT 1"))
            self._clock.floor(await self._read_raw(sqlite_reads.last_time))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._lock is None:
            return
        for coalescer in (self._events, self._executions, self._revisions):
            await coalescer.close()
        await self._writer.close()
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()
        os.close(self._lock)
        self._lock = None

    async def identity(self) -> str:
        """Only this process writes, until it ends."""
        return self._identity

    async def ping(self) -> None:
        await self._read_raw(lambda db: db.execute("SELECT 1").fetchone())

    def listen(self, wake: Callable[[str, tuple[int, ...]], None]) -> None:
        """Nobody else writes to this file."""

    def notify(self, topic: str, executions: Sequence[int] = ()) -> None:
        """Nobody else reads this file."""

    def _prepare(self) -> None:
        self._lock = _lock_file(self._path)
        try:
            schema.prepare(self._url)
        except BaseException:
            os.close(self._lock)
            self._lock = None
            raise

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, timeout=5.0, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        db.execute("PRAGMA query_only=ON")
        return db

    # --- definitions ---

    async def create_workflow(self, new: NewWorkflow) -> Workflow:
        return await self._draft(lambda drafts: drafts.create(new))

    async def get_workflow(self, namespace: str, ref: int | str) -> Workflow:
        known = await self.current_revisions(namespace, [ref])
        draft = self._drafts.get(*known[ref]) if known else None
        if draft is not None:
            return draft
        return await self._view(lambda drafts: drafts.get(namespace, ref))

    async def list_workflows(self, namespace: str, skip: int, limit: int) -> tuple[list[Workflow], int]:
        return await self._view(lambda drafts: drafts.page(namespace, skip, limit))

    async def update_workflow(self, namespace: str, ref: int | str, changes: Mapping[str, Any]) -> Workflow:
        return await self._draft(lambda drafts: drafts.update(namespace, ref, changes))

    async def archive_workflow(self, namespace: str, ref: int | str) -> int:
        return await self._draft(lambda drafts: drafts.archive(namespace, ref))

    async def edit_tasks(self, namespace: str, ref: int | str, edit: TaskEdit) -> tuple[Workflow, int]:
        return await self._draft(lambda drafts: drafts.edit(namespace, ref, edit))

    async def ensure_version(
        self, namespace: str, ref: int | str, compile_draft: CompileDraft
    ) -> tuple[WorkflowVersion, int]:
        known = await self._view(lambda drafts: drafts.compiled(namespace, ref))
        if known is not None:
            return known
        return await self._draft(lambda drafts: drafts.ensure_version(namespace, ref, compile_draft))

    async def current_revisions(self, namespace: str, refs: Sequence[int | str]) -> dict[int | str, tuple[int, int]]:
        found = await self._revisions.ask([(namespace, ref) for ref in refs])
        return {ref: known for ref, known in zip(refs, found, strict=True) if known is not None}

    async def list_versions(self, namespace: str, ref: int | str, limit: int) -> list[VersionRow]:
        return await self._view(lambda drafts: drafts.versions(namespace, ref, limit))

    async def get_version(self, namespace: str, ref: int | str, number: int) -> WorkflowVersion:
        return await self._view(lambda drafts: drafts.numbered(namespace, ref, number))

    async def get_versions(self, ids: Sequence[int]) -> dict[int, WorkflowVersion]:
        return await self._read_raw(lambda db: sqlite_reads.versions(db, ids))

    # --- secrets ---

    async def put_secret(self, namespace: str, envelope: Envelope) -> Secret:
        return await self._draft(lambda drafts: drafts.secrets.put(namespace, envelope))

    async def list_secrets(self, namespace: str) -> list[Secret]:
        return await self._view(lambda drafts: drafts.secrets.list(namespace))

    async def get_secrets(self, namespace: str, names: Sequence[str]) -> dict[str, Secret]:
        return await self._view(lambda drafts: drafts.secrets.get(namespace, names))

    async def delete_secret(self, namespace: str, name: str) -> bool:
        return await self._draft(lambda drafts: drafts.secrets.delete(namespace, name))

    # --- triggers and events from outside ---

    async def list_triggers(self, namespace: str, ref: int | str) -> list[Trigger]:
        return await self._view(lambda drafts: drafts.triggers.of(namespace, ref))

    async def get_trigger(self, namespace: str, ref: int | str, trigger_id: int) -> Trigger:
        return await self._view(lambda drafts: drafts.triggers.get(namespace, ref, trigger_id))

    async def add_trigger(self, namespace: str, ref: int | str, spec: TriggerSpec) -> Trigger:
        return await self._draft(lambda drafts: drafts.triggers.add(namespace, ref, spec))

    async def update_trigger(
        self, namespace: str, ref: int | str, trigger_id: int, changes: Mapping[str, Any]
    ) -> Trigger:
        return await self._draft(lambda drafts: drafts.triggers.update(namespace, ref, trigger_id, changes))

    async def delete_trigger(self, namespace: str, ref: int | str, trigger_id: int) -> None:
        await self._draft(lambda drafts: drafts.triggers.delete(namespace, ref, trigger_id))

    async def triggers_for(self, namespace: str, event: str, after: int, limit: int) -> list[Trigger]:
        return await self._read_raw(lambda db: sqlite_received.triggers_for(db, namespace, event, after, limit))

    async def receive_event(self, namespace: str, new: NewReceived, hold: float) -> tuple[ReceivedEvent, bool]:
        return await self._write(lambda work: sqlite_received.receive(work.db, work.now, namespace, new, hold))

    async def get_received(self, namespace: str, event_id: int) -> ReceivedEvent:
        return await self._read_raw(lambda db: sqlite_received.get(db, namespace, event_id))

    async def next_outside(self) -> float | None:
        return await self._read_raw(lambda db: sqlite_received.next_outside(db, self._clock.now()))

    async def claim_received(self, limit: int, hold: float, only: int | None = None) -> Sequence[ReceivedEvent]:
        due = await self._read_raw(lambda db: sqlite_received.due(db, self._clock.now(), limit, only))
        if not due:
            return ()
        return await self._write(lambda work: sqlite_received.claim(work.db, work.now, due, hold))

    async def settle_received(self, event_id: int, outcome: bytes) -> ReceivedEvent:
        return await self._write(lambda work: sqlite_received.settle(work.db, work.now, event_id, outcome))

    async def waits_for(self, namespace: str, event: str, after: int, limit: int) -> list[EventWait]:
        return await self._read_raw(lambda db: sqlite_received.waits_for(db, namespace, event, after, limit))

    async def woken_by(self, by: str, limit: int) -> tuple[list[WokenByEvent], int]:
        return await self._read_raw(lambda db: sqlite_received.woken_by(db, by, limit))

    async def waits_looking_back(self, after: int, limit: int) -> list[EventWait]:
        return await self._read_raw(lambda db: sqlite_received.looking_back(db, after, limit))

    async def events_before(self, wait_id: int, after: int, limit: int) -> list[ReceivedEvent]:
        return await self._read_raw(lambda db: sqlite_received.events_before(db, wait_id, after, limit))

    async def looked_back(self, wait_id: int) -> None:
        await self._write(lambda work: sqlite_received.looked_back(work.db, wait_id))

    # --- actions ---

    async def create_action(self, namespace: str, new: NewAction) -> Action:
        return await self._draft(lambda drafts: drafts.actions.create(namespace, new))

    async def update_action(self, namespace: str, name: str, changes: Mapping[str, Any]) -> Action | None:
        return await self._draft(lambda drafts: drafts.actions.update(namespace, name, changes))

    async def delete_action(self, namespace: str, name: str) -> bool:
        return await self._draft(lambda drafts: drafts.actions.delete(namespace, name))

    async def list_actions(self, namespace: str, skip: int, limit: int) -> tuple[list[Action], int]:
        return await self._view(lambda drafts: drafts.actions.page(namespace, skip, limit))

    async def get_actions(self, namespace: str, names: Collection[str]) -> dict[str, Action]:
        return await self._view(lambda drafts: drafts.actions.get(namespace, names))

    # --- leases ---

    async def acquire_lease(self, holder: str, ttl: float) -> int:
        return await self._write(lambda work: sqlite_journal.acquire_lease(work.db, work.now, holder, ttl))

    async def renew_lease(self, lease: int, ttl: float) -> None:
        await self._write(lambda work: sqlite_journal.renew_lease(work.db, work.now, lease, ttl))

    async def release_lease(self, lease: int) -> None:
        await self._write(lambda work: sqlite_journal.release_lease(work.db, work.now, lease))

    async def sweep(self, ttl: float) -> int:
        return await self._write(lambda work: sqlite_journal.sweep(work.db, work.now))

    # --- the journal ---

    async def commit(self, lease: int, batch: int, appends: Sequence[Append]) -> Committed:
        return await self._write(lambda work: sqlite_journal.commit(work.db, work.now, lease, batch, appends))

    async def start(self, appends: Sequence[Append]) -> Committed:
        return await self._write(lambda work: sqlite_journal.commit(work.db, work.now, None, None, appends))

    async def claim(self, lease: int, limit: int) -> Claims:
        return await self._write(lambda work: sqlite_journal.claim(work.db, work.now, lease, limit))

    async def owned(self, lease: int) -> list[int]:
        return await self._read_raw(lambda db: sqlite_reads.owned(db, lease))

    async def next_wake(self) -> float | None:
        return await self._read_raw(lambda db: sqlite_reads.next_wake(db, self._clock.now()))

    async def put_signals(self, signals: Sequence[Signal]) -> list[int | None]:
        return await self._write(lambda work: sqlite_journal.put_signals(work.db, work.now, signals))

    async def inbox(self, lease: int, executions: Sequence[int] | None = None) -> list[Signal]:
        return await self._read_raw(lambda db: sqlite_reads.inbox(db, lease, executions))

    async def decide_waits(self, decisions: Sequence[Decision]) -> list[bool]:
        return await self._write(lambda work: sqlite_waits.decide(work.db, work.now, decisions))

    async def list_waits(self, where: WaitFilter, before: int | None, limit: int) -> list[Wait]:
        return await self._read(lambda connection: waits.list_waits(connection, where, before, limit))

    async def share_slots(self, lease: int, asks: Sequence[PoolSlot], pools: Sequence[SlotPool]) -> list[SlotGrant]:
        return await self._write(lambda work: sqlite_slots.share(work.db, work.now, lease, asks, pools))

    async def mend_slots(self, lease: int, unclaimed: float) -> list[SlotGrant]:
        span = to_microseconds(unclaimed)
        return await self._write(lambda work: sqlite_slots.mend(work.db, work.now, lease, span))

    async def get_slots(self, executions: Sequence[int]) -> list[PoolSlot]:
        return await self._read_raw(lambda db: sqlite_slots.slots(db, executions))

    async def read_events(self, after: Mapping[int, int], limit: int = WHOLE_HISTORY) -> dict[int, list[StoredEvent]]:
        found = await self._events.ask([(number, seq, limit) for number, seq in after.items()])
        return dict(zip(after, found, strict=True))

    async def get_executions(self, ids: Sequence[int]) -> dict[int, ExecutionRow]:
        found = await self._executions.ask(list(ids))
        return {row.id: row for row in found if row is not None}

    async def list_executions(self, where: ExecutionFilter, after: Cursor | None, limit: int) -> list[ExecutionRow]:
        return await self._read(lambda connection: pages.list_executions(connection, where, after, limit))

    async def reserve_ids(self, count: int) -> range:
        return await self._write(lambda work: sqlite_journal.reserve_ids(work.db, count))

    # --- the outbox ---

    async def take_relay(self, holder: str, ttl: float) -> RelayTerm | None:
        return await self._write(lambda work: sqlite_outbox.take(work.db, work.now, holder, ttl))

    async def mark_relay(self, lease: int, mark: Position, ttl: float) -> None:
        await self._write(lambda work: sqlite_outbox.mark(work.db, work.now, lease, mark, ttl))

    async def read_outbox(self, after: Position, limit: int) -> Outbox:
        return await self._read_raw(lambda db: sqlite_outbox.read(db, after, limit))

    async def rewind_outbox(self, before: Position, count: int) -> Position:
        return await self._read_raw(lambda db: sqlite_outbox.rewind(db, before, count))

    # --- threads ---

    async def _write(self, job: Callable[[Work], T]) -> T:
        return await self._writer.submit(job)

    async def _draft(self, verb: Callable[[Drafts], T]) -> T:
        def job(work: Work) -> T:
            return self._apply(verb, work.connection, from_microseconds(work.now))

        return await self._writer.submit(job)

    async def _view(self, verb: Callable[[Drafts], T]) -> T:
        return await self._read(lambda connection: self._apply(verb, connection, 0.0))

    def _apply(self, verb: Callable[[Drafts], T], connection: Connection, now: float) -> T:
        """In a thread. What is remembered before its commit is forgotten if that fails."""
        drafts = Drafts(connection, literal(now, Instant), self._drafts)
        answer = verb(drafts)
        drafts.remember()
        return answer

    async def _read_raw(self, job: Callable[[sqlite3.Connection], T]) -> T:
        return await self._read(lambda connection: job(_raw(connection)))

    async def _read(self, job: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(self._snapshot, job))

    def _snapshot(self, job: Callable[[Connection], T]) -> T:
        """In a reader's thread: `job` sees one state of the file."""
        try:
            with self._engine.connect() as connection:
                _raw(connection).execute("BEGIN")
                try:
                    return job(connection)
                finally:
                    _raw(connection).execute("COMMIT")
        except MillraceError:
            raise
        except (sqlite3.Error, SQLAlchemyError) as error:
            raise StoreUnavailable(f"the database file cannot be read: {error}") from error

    def _ask(self, read: Callable[[sqlite3.Connection, Sequence[Any]], Sequence[T]]) -> Any:
        async def run(questions: Sequence[Any]) -> Sequence[T]:
            return await self._read_raw(lambda db: read(db, questions))

        return run


def _raw(connection: Connection) -> sqlite3.Connection:
    db = connection.connection.driver_connection
    assert isinstance(db, sqlite3.Connection)
    return db


def _lock_file(path: str) -> int:
    """Held until the process ends, however it ends. Raises `ConfigurationError`."""
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigurationError(f"cannot open {path}.lock: {error.strerror}; name a writable DATABASE_URL") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        with suppress(OSError):
            other = os.pread(lock, 32, 0).decode(errors="replace").strip()
        os.close(lock)
        message = f"{path} is in use by process {other or '?'}; stop it, or set DATABASE_URL to another file"
        raise ConfigurationError(message) from None
    os.truncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
