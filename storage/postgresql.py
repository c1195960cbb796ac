"""PostgreSQL for any number of processes.

The journal, the claims and the hot reads run inside the event loop on a few connections in psycopg2's asynchronous
mode: one writer, the only one that takes the fence, two readers, one that listens. Drafts and pages go through
SQLModel's tables on one more in a process with an engine, and on two in one that only answers: 5 and 6 connections,
so that four engines and an API need 26.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import psycopg2
from sqlalchemy import ColumnElement, Connection, func, type_coerce

from engine.actions import Action, NewAction
from engine.errors import BatchRefused, ConfigurationError, EventNotFound, StoreUnavailable
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
from storage import pages, postgresql_drafts, postgresql_waits, schema, waits
from storage import postgresql_journal as journal
from storage import postgresql_outbox as outbox
from storage import postgresql_reads as reads
from storage import postgresql_received as inbound
from storage import postgresql_slots as pool_slots
from storage.coalesce import Coalescer
from storage.columns import Instant, is_id
from storage.draft_cache import DraftCache
from storage.drafts import CompileDraft, Drafts, cannot_hold, key_taken
from storage.postgresql_appends import append, translate
from storage.postgresql_batch import PREPARED
from storage.postgresql_bell import Bell
from storage.postgresql_pool import Pool
from storage.postgresql_session import Broken, Part, Rows, Session
from storage.records import execution_record, woken_records

T = TypeVar("T")
STARTS = 512
"""Starts without an engine that one commit takes."""
READERS = 2
DRAFTS_OF_AN_ENGINE, DRAFTS_OF_A_DOOR = 1, 2
NOW: ColumnElement[float] = type_coerce(func.now(), Instant())
LOCK_NOT_AVAILABLE = "55P03"


def open_store(url: str, *, engine: bool = False) -> Store:
    """A store that is not yet open. Raises `ConfigurationError`."""
    return PostgreSQLStore(url, DRAFTS_OF_AN_ENGINE if engine else DRAFTS_OF_A_DOOR)


class PostgreSQLStore:
    """Satisfies `engine.ports.Store`."""

    shared: ClassVar[bool] = True

    def __init__(self, url: str, drafts: int) -> None:
        parsed = schema.parse_url(url)
        dsn = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
        self._writer = Session(dsn, greet=PREPARED)
        self._readers = [Session(dsn) for _ in range(READERS)]
        self._bell = Bell(dsn)
        self._pool = Pool(parsed, drafts)
        self._drafts = DraftCache()
        self._leases: set[int] = set()
        self._events = Coalescer(self._read_events)
        self._executions = Coalescer(self._read_executions)
        self._revisions = Coalescer(self._read_revisions)
        self._starts = Coalescer(self._start_together, most=STARTS)

    # --- life ---

    async def open(self) -> None:
        try:
            await self._check_schema()
            await self._bell.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        for coalescer in (self._starts, self._events, self._executions, self._revisions):
            await coalescer.close()
        await self._bell.close()
        for session in (self._writer, *self._readers):
            session.close()
        await self._pool.close()

    async def ping(self) -> None:
        await self._read("SELECT 1")

    async def identity(self) -> str:
        """By the server and the database in it, whatever URL leads there; a copy elsewhere is another one."""
        rows = await self._read(reads.IDENTITY)
        return f"{rows[0][0]:x}-{rows[0][1]:x}"

    def listen(self, wake: Callable[[str, tuple[int, ...]], None]) -> None:
        self._bell.listen(wake)

    def notify(self, topic: str, executions: Sequence[int] = ()) -> None:
        self._bell.ring(topic, executions)

    async def _check_schema(self) -> None:
        there = await self._read("SELECT to_regclass('alembic_version') IS NOT NULL")
        found = await self._read("SELECT version_num FROM alembic_version") if there[0][0] else []
        version = found[0][0] if found else None
        if version != schema.HEAD:
            is_at = "has no tables yet" if version is None else f"is at version {version}, not {schema.HEAD}"
            raise ConfigurationError(f"the database {is_at}; run: {schema.CURE}")

    # --- definitions ---

    async def create_workflow(self, new: NewWorkflow) -> Workflow:
        if new.triggers:
            return await self._draft(lambda drafts: drafts.create(new))
        try:
            rows = await self._read(postgresql_drafts.create(new))
        except ValueError as error:
            raise cannot_hold(error) from error
        if not rows:
            raise key_taken(new.key)
        made = postgresql_drafts.created(new, rows)
        self._drafts.put(made)
        return made

    async def get_workflow(self, namespace: str, ref: int | str) -> Workflow:
        known = await self.current_revisions(namespace, [ref])
        draft = self._drafts.get(*known[ref]) if known else None
        if draft is not None:
            return draft
        return await self._draft(lambda drafts: drafts.get(namespace, ref), isolation="REPEATABLE READ")

    async def list_workflows(self, namespace: str, skip: int, limit: int) -> tuple[list[Workflow], int]:
        return await self._draft(lambda drafts: drafts.page(namespace, skip, limit), isolation="REPEATABLE READ")

    async def update_workflow(self, namespace: str, ref: int | str, changes: Mapping[str, Any]) -> Workflow:
        return await self._draft(lambda drafts: drafts.update(namespace, ref, changes))

    async def archive_workflow(self, namespace: str, ref: int | str) -> int:
        return await self._draft(lambda drafts: drafts.archive(namespace, ref))

    async def edit_tasks(self, namespace: str, ref: int | str, edit: TaskEdit) -> tuple[Workflow, int]:
        return await self._draft(lambda drafts: drafts.edit(namespace, ref, edit))

    async def ensure_version(
        self, namespace: str, ref: int | str, compile_draft: CompileDraft
    ) -> tuple[WorkflowVersion, int]:
        known = await self._draft(lambda drafts: drafts.compiled(namespace, ref), isolation="AUTOCOMMIT")
        if known is not None:
            return known
        return await self._draft(lambda drafts: drafts.ensure_version(namespace, ref, compile_draft))

    async def current_revisions(self, namespace: str, refs: Sequence[int | str]) -> dict[int | str, tuple[int, int]]:
        found = await self._revisions.ask([(namespace, ref) for ref in refs])
        return {ref: known for ref, known in zip(refs, found, strict=True) if known is not None}

    async def list_versions(self, namespace: str, ref: int | str, limit: int) -> list[VersionRow]:
        return await self._draft(lambda drafts: drafts.versions(namespace, ref, limit), isolation="REPEATABLE READ")

    async def get_version(self, namespace: str, ref: int | str, number: int) -> WorkflowVersion:
        return await self._draft(lambda drafts: drafts.numbered(namespace, ref, number), isolation="REPEATABLE READ")

    async def get_versions(self, ids: Sequence[int]) -> dict[int, WorkflowVersion]:
        return reads.version_records(await self._read(reads.versions(ids)))

    # --- secrets ---

    async def put_secret(self, namespace: str, envelope: Envelope) -> Secret:
        return await self._draft(lambda drafts: drafts.secrets.put(namespace, envelope))

    async def list_secrets(self, namespace: str) -> list[Secret]:
        return await self._draft(lambda drafts: drafts.secrets.list(namespace), isolation="AUTOCOMMIT")

    async def get_secrets(self, namespace: str, names: Sequence[str]) -> dict[str, Secret]:
        return await self._draft(lambda drafts: drafts.secrets.get(namespace, names), isolation="AUTOCOMMIT")

    async def delete_secret(self, namespace: str, name: str) -> bool:
        return await self._draft(lambda drafts: drafts.secrets.delete(namespace, name))

    # --- triggers and events from outside ---

    async def list_triggers(self, namespace: str, ref: int | str) -> list[Trigger]:
        return await self._draft(lambda drafts: drafts.triggers.of(namespace, ref), isolation="REPEATABLE READ")

    async def get_trigger(self, namespace: str, ref: int | str, trigger_id: int) -> Trigger:
        def get(drafts: Drafts) -> Trigger:
            return drafts.triggers.get(namespace, ref, trigger_id)

        return await self._draft(get, isolation="REPEATABLE READ")

    async def add_trigger(self, namespace: str, ref: int | str, spec: TriggerSpec) -> Trigger:
        return await self._draft(lambda drafts: drafts.triggers.add(namespace, ref, spec))

    async def update_trigger(
        self, namespace: str, ref: int | str, trigger_id: int, changes: Mapping[str, Any]
    ) -> Trigger:
        return await self._draft(lambda drafts: drafts.triggers.update(namespace, ref, trigger_id, changes))

    async def delete_trigger(self, namespace: str, ref: int | str, trigger_id: int) -> None:
        await self._draft(lambda drafts: drafts.triggers.delete(namespace, ref, trigger_id))

    async def triggers_for(self, namespace: str, event: str, after: int, limit: int) -> list[Trigger]:
        return inbound.trigger_records(await self._read(inbound.triggers_for(namespace, event, after, limit)))

    async def receive_event(self, namespace: str, new: NewReceived, hold: float) -> tuple[ReceivedEvent, bool]:
        try:
            made = inbound.records(await self._read(inbound.receive(namespace, new, hold)))
            # a later query: it sees what the insert has met
            known = made or inbound.records(await self._read(inbound.known(namespace, new.key)))
        except ValueError as error:
            raise cannot_hold(error) from error
        return known[0], bool(made)

    async def get_received(self, namespace: str, event_id: int) -> ReceivedEvent:
        found = inbound.records(await self._read(inbound.get(namespace, event_id))) if is_id(event_id) else ()
        if not found:
            raise EventNotFound(f"there is no event {event_id}; POST /events answers the ids")
        return found[0]

    async def next_outside(self) -> float | None:
        delay: float | None = (await self._read(inbound.NEXT_OUTSIDE))[0][0]
        return delay

    async def claim_received(self, limit: int, hold: float, only: int | None = None) -> Sequence[ReceivedEvent]:
        return inbound.records(await self._read(inbound.claim(limit, hold, only)))

    async def settle_received(self, event_id: int, outcome: bytes) -> ReceivedEvent:
        return inbound.records(await self._read(*inbound.settle(event_id, outcome)))[0]

    async def waits_for(self, namespace: str, event: str, after: int, limit: int) -> list[EventWait]:
        return inbound.wait_records(await self._read(inbound.waits_for(namespace, event, after, limit)))

    async def woken_by(self, by: str, limit: int) -> tuple[list[WokenByEvent], int]:
        return woken_records(await self._read(inbound.woken_by(by, limit)))

    async def waits_looking_back(self, after: int, limit: int) -> list[EventWait]:
        return inbound.wait_records(await self._read(inbound.looking_back(after, limit)))

    async def events_before(self, wait_id: int, after: int, limit: int) -> list[ReceivedEvent]:
        return inbound.records(await self._read(inbound.events_before(wait_id, after, limit)))

    async def looked_back(self, wait_id: int) -> None:
        await self._read(inbound.looked_back(wait_id))

    # --- actions ---

    async def create_action(self, namespace: str, new: NewAction) -> Action:
        return await self._draft(lambda drafts: drafts.actions.create(namespace, new))

    async def update_action(self, namespace: str, name: str, changes: Mapping[str, Any]) -> Action | None:
        return await self._draft(lambda drafts: drafts.actions.update(namespace, name, changes))

    async def delete_action(self, namespace: str, name: str) -> bool:
        return await self._draft(lambda drafts: drafts.actions.delete(namespace, name))

    async def list_actions(self, namespace: str, skip: int, limit: int) -> tuple[list[Action], int]:
        return await self._draft(
            lambda drafts: drafts.actions.page(namespace, skip, limit), isolation="REPEATABLE READ"
        )

    async def get_actions(self, namespace: str, names: Collection[str]) -> dict[str, Action]:
        return await self._draft(lambda drafts: drafts.actions.get(namespace, names), isolation="AUTOCOMMIT")

    # --- leases ---

    async def acquire_lease(self, holder: str, ttl: float) -> int:
        rows = await self._write(journal.acquire(holder, ttl))
        lease: int = rows[0][0]
        self._leases.add(lease)
        return lease

    async def renew_lease(self, lease: int, ttl: float) -> None:
        await self._write(*journal.renew(lease, ttl))

    async def release_lease(self, lease: int) -> None:
        await self._write(*journal.release(lease))
        self._leases.discard(lease)

    async def sweep(self, ttl: float) -> int:
        for (lease,) in await self._read(journal.expired(ttl)):
            if lease not in self._leases:
                await self._mark_lost(lease)
        dead = [row[0] for row in await self._read((journal.DEAD_OWNERS, (ttl,)))]
        freed: int = (await self._read(journal.free(dead)))[0][0] if dead else 0
        return freed

    async def _mark_lost(self, lease: int) -> None:
        try:
            await self._reader().run(*journal.mark_lost(lease))
        except psycopg2.Error as error:
            if error.pgcode != LOCK_NOT_AVAILABLE:
                raise translate(error) from error
        except Broken as error:
            raise StoreUnavailable(f"the database does not answer: {error}") from error

    # --- the journal ---

    async def commit(self, lease: int, batch: int, appends: Sequence[Append]) -> Committed:
        return await append(self._writer, lease, batch, appends)

    async def start(self, appends: Sequence[Append]) -> Committed:
        if len(appends) != 1:
            return await append(self._writer, None, None, appends)
        (answer,) = await self._starts.ask(appends)
        if isinstance(answer, BatchRefused):
            raise answer
        return answer

    async def claim(self, lease: int, limit: int) -> Claims:
        rows = await self._write(*journal.claim(lease, limit))
        return Claims(rows[0][0], tuple(execution_record(row[1:]) for row in rows if row[1] is not None))

    async def owned(self, lease: int) -> list[int]:
        return [row[0] for row in await self._read(reads.owned(lease))]

    async def next_wake(self) -> float | None:
        rows = await self._read(reads.NEXT_WAKE)
        return rows[0][0] if rows else None

    async def put_signals(self, signals: Sequence[Signal]) -> list[int | None]:
        if not signals:
            return []
        rows = await self._read(*journal.put_signals(signals))
        left: dict[tuple[int, str | None], list[int]] = {(number, key): ids for number, key, ids in rows}
        mine = [left.get((signal.execution_id, signal.dedupe_key)) for signal in signals]
        return [ids.pop() if ids else None for ids in mine]

    async def inbox(self, lease: int, executions: Sequence[int] | None = None) -> list[Signal]:
        return reads.signal_records(await self._read(reads.inbox(lease, executions)))

    async def decide_waits(self, decisions: Sequence[Decision]) -> list[bool]:
        rows = await self._read(*postgresql_waits.decide(decisions)) if decisions else []
        won = {n for (n,) in rows}
        return [n in won for n in range(1, len(decisions) + 1)]

    async def list_waits(self, where: WaitFilter, before: int | None, limit: int) -> list[Wait]:
        return await self._pool.run(lambda c: waits.list_waits(c, where, before, limit), "AUTOCOMMIT")

    async def share_slots(self, lease: int, asks: Sequence[PoolSlot], pools: Sequence[SlotPool]) -> list[SlotGrant]:
        return pool_slots.grants(await self._write(*pool_slots.share(lease, asks, pools)))

    async def mend_slots(self, lease: int, unclaimed: float) -> list[SlotGrant]:
        needy = await self._read(pool_slots.needy(unclaimed))
        if any(idle is not None for *_, idle in needy):
            await self._write(*pool_slots.take_back(lease, unclaimed, needy))
        return await self.share_slots(lease, (), list(pool_slots.needy_pools(needy))) if needy else []

    async def get_slots(self, executions: Sequence[int]) -> list[PoolSlot]:
        return pool_slots.slot_records(await self._read(pool_slots.slots(executions)))

    async def read_events(self, after: Mapping[int, int], limit: int = WHOLE_HISTORY) -> dict[int, list[StoredEvent]]:
        found = await self._events.ask([(number, seq, limit) for number, seq in after.items()])
        return dict(zip(after, found, strict=True))

    async def get_executions(self, ids: Sequence[int]) -> dict[int, ExecutionRow]:
        found = await self._executions.ask(list(ids))
        return {row.id: row for row in found if row is not None}

    async def list_executions(self, where: ExecutionFilter, after: Cursor | None, limit: int) -> list[ExecutionRow]:
        return await self._pool.run(lambda c: pages.list_executions(c, where, after, limit), "AUTOCOMMIT")

    async def reserve_ids(self, count: int) -> range:
        after: int = (await self._read(journal.reserve(count)))[0][0]
        return range(after - count, after)

    # --- the outbox ---

    async def take_relay(self, holder: str, ttl: float) -> RelayTerm | None:
        return outbox.term(await self._read(*outbox.take(holder, ttl)))

    async def mark_relay(self, lease: int, mark: Position, ttl: float) -> None:
        await self._read(*outbox.mark(lease, mark, ttl))

    async def read_outbox(self, after: Position, limit: int) -> Outbox:
        return outbox.records(await self._read(*outbox.read(after, limit)))

    async def rewind_outbox(self, before: Position, count: int) -> Position:
        return outbox.start(await self._read(*outbox.rewind(before, count)))

    async def _start_together(self, appends: Sequence[Append]) -> Sequence[Committed | BatchRefused]:
        """Those of many callers in one commit; one that is refused harms no other."""
        try:
            return [await append(self._writer, None, None, appends)] * len(appends)
        except BatchRefused as error:
            if len(appends) == 1:
                return [error]
        return [answer for one in appends for answer in await self._start_together([one])]

    # --- connections ---

    async def _read_events(self, questions: Sequence[tuple[int, int, int]]) -> Sequence[list[StoredEvent]]:
        return reads.event_records(await self._read(reads.events(questions)), len(questions))

    async def _read_executions(self, ids: Sequence[int]) -> Sequence[ExecutionRow | None]:
        return reads.execution_records(await self._read(reads.executions(ids)), ids)

    async def _read_revisions(self, refs: Sequence[tuple[str, int | str]]) -> Sequence[tuple[int, int] | None]:
        return reads.revision_records(await self._read(reads.revisions(refs)), len(refs))

    def _reader(self) -> Session:
        return min(self._readers, key=lambda session: session.load)

    async def _read(self, *parts: Part) -> Rows:
        return await _translated(self._reader().run(*parts))

    async def _write(self, *parts: Part) -> Rows:
        return await _translated(self._writer.run(*parts))

    async def _draft(self, verb: Callable[[Drafts], T], *, isolation: str = "READ COMMITTED") -> T:
        drafts: list[Drafts] = []

        def job(connection: Connection) -> T:
            drafts[:] = [Drafts(connection, NOW, self._drafts)]
            return verb(drafts[0])

        answer = await self._pool.run(job, isolation)
        drafts[0].remember()
        return answer


async def _translated(query: Awaitable[Rows]) -> Rows:
    try:
        return await query
    except psycopg2.Error as error:
        raise translate(error) from error
    except Broken as error:
        raise StoreUnavailable(f"the database does not answer: {error}") from error
