"""The tables, as SQLModel classes over one `MetaData`.

Drafts (`workflow`, `task`) are edited; versions, events and idempotency keys are only ever added. Payloads are bytes
with an `encoding` (0 = JSON). Journal tables have no foreign keys, so that they can be partitioned.
"""

from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    event,
    false,
    text,
)
from sqlmodel import Field, SQLModel

from storage.columns import Id, Instant, Xid8, current_xact
from storage.functions import FUNCTIONS

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

for _function in FUNCTIONS:
    _ddl = DDL(_function.replace("%", "%%"))  # type: ignore[no-untyped-call]
    event.listen(metadata, "after_create", _ddl.execute_if(dialect="postgresql"))


class Base(SQLModel):
    """Puts every table into `metadata`."""

    metadata = metadata


def _column(kind: Any, *args: Any, null: bool = False, **options: Any) -> Any:
    return Field(sa_column=Column(kind, *args, nullable=null, **options))


def _number(kind: Any, default: int, **options: Any) -> Any:
    return _column(kind, server_default=text(str(default)), **options)


def _id() -> Any:
    return _column(Id, primary_key=True)


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


class WorkflowTable(Base, table=True):
    """A template. `key` is NULL once archived; `compiled_version` is what revision `compiled_revision` made.

    `actions` are the names of actions that it refers to, if it does: their change makes a new revision.
    """

    __tablename__ = "workflow"
    __table_args__ = (
        UniqueConstraint("namespace", "key"),
        _partial("ix_workflow_live", "namespace", "id", where="archived_at IS NULL"),
        {"sqlite_autoincrement": True},
    )
    id: int = _id()
    namespace: str = _column(Text)
    key: str | None = _column(Text, null=True)
    name: str = _column(Text)
    description: str | None = _column(Text, null=True)
    dialect: str = _column(Text)
    source: bytes | None = _column(LargeBinary, null=True)
    encoding: int = _number(SmallInteger, 0)
    revision: int = _number(BigInteger, 1)
    compiled_revision: int | None = _column(BigInteger, null=True)
    compiled_version: int | None = _column(BigInteger, null=True)
    actions: bytes | None = _column(LargeBinary, null=True)
    max_concurrency: int | None = _column(Integer, null=True)
    timeout: float | None = _column(Float, null=True)
    budget: bytes | None = _column(LargeBinary, null=True)
    created_at: float = _column(Instant)
    updated_at: float = _column(Instant)
    archived_at: float | None = _column(Instant, null=True)


class TaskTable(Base, table=True):
    """A row of the draft of an ordered-tasks workflow."""

    __tablename__ = "task"
    __table_args__ = (
        UniqueConstraint("workflow_id", "key"),
        Index(None, "workflow_id", "position", "id"),
        {"sqlite_autoincrement": True},
    )
    id: int = _id()
    workflow_id: int = _column(Id, ForeignKey("workflow.id"))
    key: str = _column(Text)
    name: str = _column(Text)
    description: str | None = _column(Text, null=True)
    position: int = _column(BigInteger)
    execution_type: str = _column(Text)
    type: str | None = _column(Text, null=True)
    parameters: bytes = _column(LargeBinary)
    depends_on: bytes = _column(LargeBinary)
    condition: bytes = _column(LargeBinary)
    retry: bytes = _column(LargeBinary)
    encoding: int = _number(SmallInteger, 0)
    timeout: float | None = _column(Float, null=True)
    executor: str | None = _column(Text, null=True)
    on_error: str = _column(Text)
    heartbeat_timeout: float | None = _column(Float, null=True)
    resources: bytes = _column(LargeBinary)
    concurrency_key: str | None = _column(Text, null=True)
    concurrency_limit: int = _column(Integer)
    compensate: bytes = _column(LargeBinary)
    total_timeout: float | None = _column(Float, null=True)
    created_at: float = _column(Instant)
    updated_at: float = _column(Instant)


class WorkflowVersionTable(Base, table=True):
    """An immutable compiled definition."""

    __tablename__ = "workflow_version"
    __table_args__ = (
        UniqueConstraint("workflow_id", "digest"),
        UniqueConstraint("workflow_id", "number"),
        {"sqlite_autoincrement": True},
    )
    id: int = _id()
    workflow_id: int = _column(Id, ForeignKey("workflow.id"))
    number: int = _column(BigInteger)
    digest: str = _column(Text)
    graph: bytes = _column(LargeBinary)
    presentation: bytes = _column(LargeBinary)
    encoding: int = _number(SmallInteger, 0)
    created_at: float = _column(Instant)


class ExecutionTable(Base, table=True):
    """What lists and claims need; `v` is the format of its events, claimed only by engines that can read it."""

    __tablename__ = "execution"
    __table_args__ = (
        _partial("ix_execution_due", "wake_at", where="owner IS NULL AND wake_at IS NOT NULL"),
        _partial("ix_execution_owner", "owner", where="owner IS NOT NULL"),
        Index("ix_execution_page", "namespace", "created_at", "id"),
        Index("ix_execution_status_page", "namespace", "status", "created_at", "id"),
        Index("ix_execution_workflow_page", "workflow_id", "status", "created_at", "id"),
        _partial(
            "ix_execution_parent_page", "namespace", "parent_id", "created_at", "id", where="parent_id IS NOT NULL"
        ),
    )
    id: int = _column(Id, primary_key=True, autoincrement=False)
    namespace: str = _column(Text)
    workflow_id: int = _column(BigInteger)
    version_id: int = _column(BigInteger)
    status: str = _column(Text)
    owner: int | None = _column(BigInteger, null=True)
    wake_at: float | None = _column(Instant, null=True)
    idempotency_key: str | None = _column(Text, null=True)
    labels: bytes | None = _column(LargeBinary, null=True)
    priority: int = _number(Integer, 0)
    queue: str = _column(Text)
    parent_id: int | None = _column(BigInteger, null=True)
    root_id: int | None = _column(BigInteger, null=True)
    rerun_of: int | None = _column(BigInteger, null=True)
    v: int = _column(SmallInteger)
    created_at: float = _column(Instant)
    started_at: float | None = _column(Instant, null=True)
    ended_at: float | None = _column(Instant, null=True)


class IdempotencyTable(Base, table=True):
    """Which execution an idempotency key started, and by which request."""

    __tablename__ = "idempotency"
    namespace: str = _column(Text, primary_key=True)
    workflow_id: int = _column(BigInteger, primary_key=True)
    key: str = _column(Text, primary_key=True)
    execution_id: int = _column(BigInteger)
    request_digest: bytes = _column(LargeBinary)


class EventTable(Base, table=True):
    """The journal. `lease` and `batch` name the commit.

    `xid` orders commits for the relay: PostgreSQL's number of the transaction, on SQLite its time in microseconds.
    """

    __tablename__ = "event"
    __table_args__ = (Index("ix_event_xid", "xid"),)
    execution_id: int = _column(BigInteger, primary_key=True, autoincrement=False)
    seq: int = _column(Integer, primary_key=True, autoincrement=False)
    type: str = _column(Text)
    v: int = _column(SmallInteger)
    at: float = _column(Instant)
    lease: int | None = _column(BigInteger, null=True)
    batch: int | None = _column(BigInteger, null=True)
    encoding: int = _number(SmallInteger, 0)
    xid: int = _column(Xid8().with_variant(BigInteger, "sqlite"), server_default=current_xact())
    data: bytes = _column(LargeBinary)


class SignalTable(Base, table=True):
    """The inbox of an execution; rows vanish when they are in its journal."""

    __tablename__ = "signal"
    __table_args__ = (
        UniqueConstraint("execution_id", "dedupe_key"),
        Index(None, "execution_id", "id"),
        {"sqlite_autoincrement": True},
    )
    id: int = _id()
    execution_id: int = _column(BigInteger)
    kind: str = _column(Text)
    name: str = _column(Text)
    payload: bytes = _column(LargeBinary)
    encoding: int = _number(SmallInteger, 0)
    dedupe_key: str | None = _column(Text, null=True)
    created_at: float = _column(Instant)


class TriggerTable(Base, table=True):
    """Starts its workflow for events of the type `event` (`*`: of any). `written` ones stand in its document."""

    __tablename__ = "trigger"
    __table_args__ = (
        Index(None, "workflow_id", "id"),
        _partial("ix_trigger_event", "event", "id", where="enabled"),
        {"sqlite_autoincrement": True},
    )
    id: int = _id()
    namespace: str = _column(Text)
    workflow_id: int = _column(Id, ForeignKey("workflow.id"))
    event: str = _column(Text)
    condition: bytes = _column(LargeBinary)
    encoding: int = _number(SmallInteger, 0)
    enabled: bool = _column(Boolean)
    written: bool = _column(Boolean)
    created_at: float = _column(Instant)
    updated_at: float = _column(Instant)


class ReceivedEventTable(Base, table=True):
    """An event from outside, or published by a task. While it has no `outcome`, anybody handles it after `due_at`."""

    __tablename__ = "received_event"
    __table_args__ = (
        UniqueConstraint("namespace", "key"),
        Index("ix_received_event_type", "type", "received_at", "id"),
        _partial("ix_received_event_due", "due_at", "id", where="due_at IS NOT NULL"),
        {"sqlite_autoincrement": True},
    )
    id: int = _id()
    namespace: str = _column(Text)
    type: str = _column(Text)
    key: str | None = _column(Text, null=True)
    payload: bytes = _column(LargeBinary)
    encoding: int = _number(SmallInteger, 0)
    digest: bytes = _column(LargeBinary)
    depth: int = _column(SmallInteger)
    received_at: float = _column(Instant)
    due_at: float | None = _column(Instant, null=True)
    handled_at: float | None = _column(Instant, null=True)
    outcome: bytes | None = _column(LargeBinary, null=True)


class SlotTable(Base, table=True):
    """A task that holds, or waits for, slots of pools; the order of `id` is the line. See `engine.states.SlotStage`.

    There is a row only while its task is scheduled or running; whoever owns the execution owns the row.
    """

    __tablename__ = "slot"
    __table_args__ = (
        UniqueConstraint("execution_id", "task"),
        Index(None, "workflow_id", "stage", "id"),
        _partial("ix_slot_key", "workflow_id", "key", "stage", "id", where="key IS NOT NULL"),
        _partial("ix_slot_held", "execution_id", where="stage = 2"),
        {"sqlite_autoincrement": True},
    )
    id: int = _id()
    execution_id: int = _column(BigInteger)
    task: str = _column(Text)
    workflow_id: int = _column(BigInteger)
    key: str | None = _column(Text, null=True)
    key_limit: int = _column(Integer)
    workflow_limit: int | None = _column(Integer, null=True)
    stage: int = _column(SmallInteger)
    asked_at: float = _column(Instant)
    held_at: float | None = _column(Instant, null=True)


class WaitTable(Base, table=True):
    """A wait that the world can see, and the one decision on it. See `engine.waits`."""

    __tablename__ = "wait"
    __table_args__ = (
        UniqueConstraint("execution_id", "task"),
        Index("ix_wait_page", "namespace", "kind", "id"),
        _partial("ix_wait_open", "namespace", "kind", "id", where="decided_at IS NULL"),
        _partial("ix_wait_decision", "namespace", "kind", "decision", "id", where="decision IS NOT NULL"),
        _partial("ix_wait_topic", "topic", "id", where="decided_at IS NULL AND topic IS NOT NULL"),
        _partial("ix_wait_lookback", "id", where="lookback IS NOT NULL AND decided_at IS NULL"),
        _partial("ix_wait_event", "decided_by", where="kind = 'event' AND decided_by IS NOT NULL"),
        {"sqlite_autoincrement": True},
    )
    id: int = _id()
    namespace: str = _column(Text)
    workflow_id: int = _column(BigInteger)
    execution_id: int = _column(BigInteger)
    task: str = _column(Text)
    kind: str = _column(Text)
    topic: str | None = _column(Text, null=True)
    details: bytes = _column(LargeBinary)
    encoding: int = _number(SmallInteger, 0)
    opened_at: float = _column(Instant)
    due_at: float | None = _column(Instant, null=True)
    decided_at: float | None = _column(Instant, null=True)
    decision: str | None = _column(Text, null=True)
    decided_by: str | None = _column(Text, null=True)
    comment: str | None = _column(Text, null=True)
    lookback: float | None = _column(Float, null=True)


class LeaseTable(Base, table=True):
    """The right of one process to write; its id is the fencing token and is never used again."""

    __tablename__ = "lease"
    __table_args__ = (
        _partial("ix_lease_live", "expires_at", where="NOT lost"),
        {"sqlite_autoincrement": True},
    )
    id: int = _id()
    holder: str = _column(Text)
    expires_at: float = _column(Instant)
    lost: bool = _column(Boolean, server_default=false())
    created_at: float = _column(Instant)


class RelayTable(Base, table=True):
    """How far the events were published, under which lease; `journal` names this database for good."""

    __tablename__ = "relay"
    name: str = _column(Text, primary_key=True)
    journal: str = _column(Text)
    lease: int | None = _column(BigInteger, null=True)
    xid: int = _number(BigInteger, 0)
    execution_id: int = _number(BigInteger, 0)
    seq: int = _number(Integer, 0)


class IdBlockTable(Base, table=True):
    """The next id that nobody has reserved."""

    __tablename__ = "id_block"
    name: str = _column(Text, primary_key=True)
    next: int = _column(BigInteger)


class SecretTable(Base, table=True):
    """A sealed value: AES-GCM with the key named by `key_id`; name, namespace and hosts are authenticated with it."""

    __tablename__ = "secret"
    namespace: str = _column(Text, primary_key=True)
    name: str = _column(Text, primary_key=True)
    key_id: str = _column(Text)
    nonce: bytes = _column(LargeBinary)
    ciphertext: bytes = _column(LargeBinary)
    hosts: bytes = _column(LargeBinary)
    created_at: float = _column(Instant)
    updated_at: float = _column(Instant)


class ActionTable(Base, table=True):
    """A node type and a part of a config, under a name."""

    __tablename__ = "action"
    namespace: str = _column(Text, primary_key=True)
    name: str = _column(Text, primary_key=True)
    handler_type: str = _column(Text)
    config: bytes = _column(LargeBinary)
    encoding: int = _number(SmallInteger, 0)
    description: str | None = _column(Text, null=True)
    created_at: float = _column(Instant)
    updated_at: float = _column(Instant)
