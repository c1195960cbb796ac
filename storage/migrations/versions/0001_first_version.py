"""The first tables.

Revision: 0001
"""

import sqlalchemy as sa
from alembic import op

from storage.columns import Id, Instant, Xid8, current_xact

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

FENCE = """
CREATE FUNCTION millrace_fence(mine bigint) RETURNS void LANGUAGE plpgsql AS $body$
BEGIN
  PERFORM 1 FROM lease WHERE id = mine AND NOT lost FOR SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'lease % is lost', mine USING ERRCODE = 'MR001';
  END IF;
END $body$
"""
EXPECT = """
CREATE FUNCTION millrace_expect(wanted bigint, touched bigint) RETURNS void LANGUAGE plpgsql AS $body$
BEGIN
  IF wanted <> touched THEN
    RAISE EXCEPTION '% of % rows are not ours, or not open any more',
      wanted - touched, wanted USING ERRCODE = 'MR002';
  END IF;
END $body$
"""


def upgrade() -> None:  # noqa: PLR0915 - the whole schema
    op.create_table(
        "event",
        sa.Column("execution_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("v", sa.SmallInteger(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("lease", sa.BigInteger(), nullable=True),
        sa.Column("batch", sa.BigInteger(), nullable=True),
        sa.Column("encoding", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("xid", Xid8().with_variant(sa.BigInteger(), "sqlite"), server_default=current_xact(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "seq", name=op.f("pk_event")),
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index("ix_event_xid", ["xid"], unique=False)

    op.create_table(
        "execution",
        sa.Column("id", Id, autoincrement=False, nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("owner", sa.BigInteger(), nullable=True),
        sa.Column("wake_at", Instant(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("labels", sa.LargeBinary(), nullable=True),
        sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("root_id", sa.BigInteger(), nullable=True),
        sa.Column("rerun_of", sa.BigInteger(), nullable=True),
        sa.Column("v", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_execution")),
    )
    with op.batch_alter_table("execution", schema=None) as batch_op:
        batch_op.create_index(
            "ix_execution_due",
            ["wake_at"],
            unique=False,
            sqlite_where=sa.text("owner IS NULL AND wake_at IS NOT NULL"),
            postgresql_where=sa.text("owner IS NULL AND wake_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_execution_owner",
            ["owner"],
            unique=False,
            sqlite_where=sa.text("owner IS NOT NULL"),
            postgresql_where=sa.text("owner IS NOT NULL"),
        )
        batch_op.create_index("ix_execution_page", ["namespace", "created_at", "id"], unique=False)
        batch_op.create_index(
            "ix_execution_parent_page",
            ["namespace", "parent_id", "created_at", "id"],
            unique=False,
            sqlite_where=sa.text("parent_id IS NOT NULL"),
            postgresql_where=sa.text("parent_id IS NOT NULL"),
        )
        batch_op.create_index("ix_execution_status_page", ["namespace", "status", "created_at", "id"], unique=False)
        batch_op.create_index("ix_execution_workflow_page", ["workflow_id", "status", "created_at", "id"], unique=False)

    op.create_table(
        "id_block",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_id_block")),
    )
    op.create_table(
        "idempotency",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("execution_id", sa.BigInteger(), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "workflow_id", "key", name=op.f("pk_idempotency")),
    )
    op.create_table(
        "lease",
        sa.Column("id", Id, nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("lost", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("lease", schema=None) as batch_op:
        batch_op.create_index(
            "ix_lease_live",
            ["expires_at"],
            unique=False,
            sqlite_where=sa.text("NOT lost"),
            postgresql_where=sa.text("NOT lost"),
        )

    op.create_table(
        "relay",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("journal", sa.Text(), nullable=False),
        sa.Column("lease", sa.BigInteger(), nullable=True),
        sa.Column("xid", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("execution_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("seq", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_relay")),
    )
    op.create_table(
        "signal",
        sa.Column("id", Id, nullable=False),
        sa.Column("execution_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("encoding", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signal")),
        sa.UniqueConstraint("execution_id", "dedupe_key", name=op.f("uq_signal_execution_id_dedupe_key")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("signal", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_signal_execution_id_id"), ["execution_id", "id"], unique=False)

    op.create_table(
        "slot",
        sa.Column("id", Id, nullable=False),
        sa.Column("execution_id", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("key_limit", sa.Integer(), nullable=False),
        sa.Column("workflow_limit", sa.Integer(), nullable=True),
        sa.Column("stage", sa.SmallInteger(), nullable=False),
        sa.Column("asked_at", Instant(), nullable=False),
        sa.Column("held_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slot")),
        sa.UniqueConstraint("execution_id", "task", name=op.f("uq_slot_execution_id_task")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("slot", schema=None) as batch_op:
        batch_op.create_index(
            "ix_slot_held",
            ["execution_id"],
            unique=False,
            sqlite_where=sa.text("stage = 2"),
            postgresql_where=sa.text("stage = 2"),
        )
        batch_op.create_index(
            "ix_slot_key",
            ["workflow_id", "key", "stage", "id"],
            unique=False,
            sqlite_where=sa.text("key IS NOT NULL"),
            postgresql_where=sa.text("key IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_slot_workflow_id_stage_id"), ["workflow_id", "stage", "id"], unique=False)

    op.create_table(
        "wait",
        sa.Column("id", Id, nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("execution_id", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=True),
        sa.Column("details", sa.LargeBinary(), nullable=False),
        sa.Column("encoding", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("opened_at", Instant(), nullable=False),
        sa.Column("due_at", Instant(), nullable=True),
        sa.Column("decided_at", Instant(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("lookback", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wait")),
        sa.UniqueConstraint("execution_id", "task", name=op.f("uq_wait_execution_id_task")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("wait", schema=None) as batch_op:
        batch_op.create_index("ix_wait_page", ["namespace", "kind", "id"], unique=False)
        batch_op.create_index(
            "ix_wait_open",
            ["namespace", "kind", "id"],
            unique=False,
            sqlite_where=sa.text("decided_at IS NULL"),
            postgresql_where=sa.text("decided_at IS NULL"),
        )
        batch_op.create_index(
            "ix_wait_decision",
            ["namespace", "kind", "decision", "id"],
            unique=False,
            sqlite_where=sa.text("decision IS NOT NULL"),
            postgresql_where=sa.text("decision IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_wait_topic",
            ["topic", "id"],
            unique=False,
            sqlite_where=sa.text("decided_at IS NULL AND topic IS NOT NULL"),
            postgresql_where=sa.text("decided_at IS NULL AND topic IS NOT NULL"),
        )

    op.create_table(
        "workflow",
        sa.Column("id", Id, nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("dialect", sa.Text(), nullable=False),
        sa.Column("source", sa.LargeBinary(), nullable=True),
        sa.Column("encoding", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("compiled_revision", sa.BigInteger(), nullable=True),
        sa.Column("compiled_version", sa.BigInteger(), nullable=True),
        sa.Column("actions", sa.LargeBinary(), nullable=True),
        sa.Column("max_concurrency", sa.Integer(), nullable=True),
        sa.Column("timeout", sa.Float(), nullable=True),
        sa.Column("budget", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("archived_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workflow")),
        sa.UniqueConstraint("namespace", "key", name=op.f("uq_workflow_namespace_key")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("workflow", schema=None) as batch_op:
        batch_op.create_index(
            "ix_workflow_live",
            ["namespace", "id"],
            unique=False,
            sqlite_where=sa.text("archived_at IS NULL"),
            postgresql_where=sa.text("archived_at IS NULL"),
        )

    op.create_table(
        "task",
        sa.Column("id", Id, nullable=False),
        sa.Column("workflow_id", Id, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("execution_type", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("parameters", sa.LargeBinary(), nullable=False),
        sa.Column("depends_on", sa.LargeBinary(), nullable=False),
        sa.Column("condition", sa.LargeBinary(), nullable=False),
        sa.Column("retry", sa.LargeBinary(), nullable=False),
        sa.Column("encoding", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("timeout", sa.Float(), nullable=True),
        sa.Column("executor", sa.Text(), nullable=True),
        sa.Column("on_error", sa.Text(), nullable=False),
        sa.Column("heartbeat_timeout", sa.Float(), nullable=True),
        sa.Column("resources", sa.LargeBinary(), nullable=False),
        sa.Column("concurrency_key", sa.Text(), nullable=True),
        sa.Column("concurrency_limit", sa.Integer(), nullable=False),
        sa.Column("compensate", sa.LargeBinary(), nullable=False),
        sa.Column("total_timeout", sa.Float(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["workflow_id"], ["workflow.id"], name=op.f("fk_task_workflow_id_workflow")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("workflow_id", "key", name=op.f("uq_task_workflow_id_key")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_task_workflow_id_position_id"), ["workflow_id", "position", "id"], unique=False
        )

    op.create_table(
        "workflow_version",
        sa.Column("id", Id, nullable=False),
        sa.Column("workflow_id", Id, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("graph", sa.LargeBinary(), nullable=False),
        sa.Column("presentation", sa.LargeBinary(), nullable=False),
        sa.Column("encoding", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workflow_id"], ["workflow.id"], name=op.f("fk_workflow_version_workflow_id_workflow")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workflow_version")),
        sa.UniqueConstraint("workflow_id", "digest", name=op.f("uq_workflow_version_workflow_id_digest")),
        sa.UniqueConstraint("workflow_id", "number", name=op.f("uq_workflow_version_workflow_id_number")),
        sqlite_autoincrement=True,
    )
    _create_what_is_kept_by_name()
    _create_events_from_outside()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(FENCE)
        op.execute(EXPECT)


def _create_what_is_kept_by_name() -> None:
    op.create_table(
        "secret",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("hosts", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "name", name=op.f("pk_secret")),
    )
    op.create_table(
        "action",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("handler_type", sa.Text(), nullable=False),
        sa.Column("config", sa.LargeBinary(), nullable=False),
        sa.Column("encoding", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "name", name=op.f("pk_action")),
    )


def _create_events_from_outside() -> None:
    with op.batch_alter_table("wait", schema=None) as batch_op:
        batch_op.create_index(
            "ix_wait_lookback",
            ["id"],
            unique=False,
            sqlite_where=sa.text("lookback IS NOT NULL AND decided_at IS NULL"),
            postgresql_where=sa.text("lookback IS NOT NULL AND decided_at IS NULL"),
        )
        batch_op.create_index(
            "ix_wait_event",
            ["decided_by"],
            unique=False,
            sqlite_where=sa.text("kind = 'event' AND decided_by IS NOT NULL"),
            postgresql_where=sa.text("kind = 'event' AND decided_by IS NOT NULL"),
        )

    op.create_table(
        "trigger",
        sa.Column("id", Id, nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("workflow_id", Id, nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("condition", sa.LargeBinary(), nullable=False),
        sa.Column("encoding", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("written", sa.Boolean(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["workflow_id"], ["workflow.id"], name=op.f("fk_trigger_workflow_id_workflow")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trigger")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("trigger", schema=None) as batch_op:
        batch_op.create_index(
            "ix_trigger_event",
            ["event", "id"],
            unique=False,
            sqlite_where=sa.text("enabled"),
            postgresql_where=sa.text("enabled"),
        )
        batch_op.create_index(batch_op.f("ix_trigger_workflow_id_id"), ["workflow_id", "id"], unique=False)

    op.create_table(
        "received_event",
        sa.Column("id", Id, nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("encoding", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("depth", sa.SmallInteger(), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.Column("due_at", Instant(), nullable=True),
        sa.Column("handled_at", Instant(), nullable=True),
        sa.Column("outcome", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_received_event")),
        sa.UniqueConstraint("namespace", "key", name=op.f("uq_received_event_namespace_key")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("received_event", schema=None) as batch_op:
        batch_op.create_index(
            "ix_received_event_due",
            ["due_at", "id"],
            unique=False,
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        )
        batch_op.create_index("ix_received_event_type", ["type", "received_at", "id"], unique=False)


def downgrade() -> None:
    raise NotImplementedError("this is the first version; drop the database instead")
