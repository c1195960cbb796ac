"""Drafts and versions on one SQLAlchemy connection, inside a transaction that the caller begins and ends."""

from bisect import bisect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Executable, Row, Select, delete, func, insert, select, update
from sqlalchemy.exc import DataError, IntegrityError

from engine.actions import ReadActions
from engine.errors import Invalid, KeyTaken, TaskNotFound, VersionNotFound, WorkflowNotFound
from engine.model import DraftTask, Workflow, WorkflowVersion
from engine.ports import Compiled, NewTask, NewWorkflow, TaskEdit, VersionRow
from storage.actions import Actions, gate
from storage.columns import is_id
from storage.draft_cache import DraftCache
from storage.records import (
    TASK_COLUMNS,
    new_task_values,
    task_record,
    task_values,
    version_record,
    workflow_record,
    workflow_values,
)
from storage.secrets import Secrets
from storage.tables import metadata
from storage.triggers import Triggers

CompileDraft = Callable[[Workflow, ReadActions], Compiled]

workflow = metadata.tables["workflow"]
task = metadata.tables["task"]
version = metadata.tables["workflow_version"]

_VERSION = tuple(
    version.c[name] for name in ("id", "workflow_id", "number", "digest", "graph", "presentation", "created_at")
)
_TASK = tuple(task.c[name] for name in TASK_COLUMNS)


class Drafts:
    """The verbs of `engine.ports.DraftStore`, synchronous. `now` is the SQL for the time of this transaction."""

    def __init__(self, connection: Connection, now: ColumnElement[float], cache: DraftCache) -> None:
        self._connection = connection
        self._now = now
        self._cache = cache
        self._learned: list[Workflow] = []
        self.secrets = Secrets(connection, now)
        self.triggers = Triggers(connection, now, self._find)
        self.actions = Actions(connection, now)

    def remember(self) -> None:
        """Puts what was read and written into the cache; to be called when it stands."""
        for draft in self._learned:
            self._cache.put(draft)

    # --- workflows ---

    def create(self, new: NewWorkflow) -> Workflow:
        values = workflow_values(msgspec.structs.asdict(new))
        triggers = values.pop("triggers")
        statement = insert(workflow).values(**values, created_at=self._now, updated_at=self._now).returning(workflow)
        try:
            row = self._write(statement)
        except IntegrityError as error:
            raise key_taken(new.key) from error
        self.triggers.take_over(row, triggers)
        return self._learn(row, ())

    def get(self, namespace: str, ref: int | str) -> Workflow:
        row = self._find(namespace, ref)
        return self._learn(row, self._tasks(row))

    def page(self, namespace: str, skip: int, limit: int) -> tuple[list[Workflow], int]:
        live = (workflow.c.namespace == namespace) & workflow.c.archived_at.is_(None)
        total = self._connection.execute(select(func.count()).select_from(workflow).where(live)).scalar_one()
        statement = select(workflow).where(live).order_by(workflow.c.id).offset(skip).limit(limit)
        rows = self._connection.execute(statement).all()
        tasks = self._tasks_of([row.id for row in rows])
        return [workflow_record(row, tuple(tasks.get(row.id, ()))) for row in rows], total

    def update(self, namespace: str, ref: int | str, changes: Mapping[str, Any]) -> Workflow:
        row = self._find(namespace, ref, lock=True)
        tasks = self._tasks(row)
        if changes.get("source") is not None and tasks:
            self._connection.execute(delete(task).where(task.c.workflow_id == row.id))
            tasks = ()
        values = dict(changes)
        triggers = values.pop("triggers", None)
        try:
            changed = self._bump(row, **workflow_values(values))
        except IntegrityError as error:
            raise key_taken(changes.get("key")) from error
        if triggers is not None:
            self.triggers.take_over(row, triggers)
        return self._learn(changed, tasks)

    def archive(self, namespace: str, ref: int | str) -> int:
        row = self._find(namespace, ref, lock=True)
        self._bump(row, key=None, archived_at=self._now)
        self.triggers.disable(row.id)
        number: int = row.id
        return number

    # --- tasks ---

    def edit(self, namespace: str, ref: int | str, edit: TaskEdit) -> tuple[Workflow, int]:
        row = self._find(namespace, ref, lock=True)
        tasks = self._tasks(row)
        if edit.new is not None:
            changed = self._add(row.id, tasks, edit.new)
            tasks = _with(tasks, changed)
        else:
            old = next((t for t in tasks if t.id == edit.task_id), None)
            if old is None:
                raise TaskNotFound(f"workflow {ref!r} has no task {edit.task_id}; list them with GET .../tasks/")
            rest = tuple(t for t in tasks if t is not old)
            if edit.changes is None:
                changed = old
                tasks = rest
                self._connection.execute(delete(task).where(task.c.id == old.id))
            else:
                changed = self._change(old, rest, edit.changes)
                tasks = _with(rest, changed)
        draft = self._learn(self._bump(row), tasks)
        edit.check(draft)
        return draft, changed.id

    def _add(self, workflow_id: int, tasks: tuple[DraftTask, ...], new: NewTask) -> DraftTask:
        values = new_task_values(new)
        taken = {t.key for t in tasks}
        if new.key is None:
            values["key"] = _free_key(taken)
        elif new.key in taken:
            raise _task_key_taken(new.key)
        if new.order is None:
            values["position"] = tasks[-1].order + 1 if tasks else 1
        values |= {"workflow_id": workflow_id, "created_at": self._now, "updated_at": self._now}
        return task_record(self._write(insert(task).values(**values).returning(*_TASK)))

    def _change(self, old: DraftTask, rest: tuple[DraftTask, ...], changes: Mapping[str, Any]) -> DraftTask:
        kept = {name: value for name, value in changes.items() if name not in {"key", "order"} or value is not None}
        if any(t.key == kept.get("key") for t in rest):
            raise _task_key_taken(kept["key"])
        values = task_values(kept) | {"updated_at": self._now}
        statement = update(task).where(task.c.id == old.id).values(**values).returning(*_TASK)
        return task_record(self._write(statement))

    # --- versions ---

    def compiled(self, namespace: str, ref: int | str) -> tuple[WorkflowVersion, int] | None:
        """The version of the present revision, if that was compiled before; one query."""
        joined = workflow.join(version, version.c.id == workflow.c.compiled_version)
        statement = (
            _named(select(*_VERSION, workflow.c.revision).select_from(joined), namespace, ref)
            .where(workflow.c.compiled_revision == workflow.c.revision)
        )  # fmt: skip
        row = self._connection.execute(statement).one_or_none() if nameable(ref) else None
        return None if row is None else (version_record(row[:-1]), row.revision)

    def ensure_version(
        self, namespace: str, ref: int | str, compile_draft: CompileDraft
    ) -> tuple[WorkflowVersion, int]:
        gate(self._connection)
        row = self._find(namespace, ref, lock=True)
        known = self.compiled(namespace, row.id)
        if known is not None:
            return known
        draft = self._learn(row, self._tasks(row))
        compiled = compile_draft(draft, lambda names: self.actions.get(namespace, names))
        made = self._version(row.id, compiled)
        actions = msgspec.json.encode(compiled.actions) if compiled.actions else None
        values = {"compiled_revision": row.revision, "compiled_version": made.id, "actions": actions}
        self._connection.execute(update(workflow).where(workflow.c.id == row.id).values(**values))
        return made, row.revision

    def versions(self, namespace: str, ref: int | str, limit: int) -> list[VersionRow]:
        row = self._find(namespace, ref)
        current = row.compiled_version if row.compiled_revision == row.revision else None
        columns = version.c.id, version.c.number, version.c.digest, version.c.created_at
        statement = (
            select(*columns).where(version.c.workflow_id == row.id).order_by(version.c.number.desc()).limit(limit)
        )
        rows = self._connection.execute(statement).all()
        return [VersionRow(number, digest, at, made == current) for made, number, digest, at in rows]

    def numbered(self, namespace: str, ref: int | str, number: int) -> WorkflowVersion:
        row = self._find(namespace, ref)
        wanted = (version.c.workflow_id == row.id) & (version.c.number == number)
        found = self._connection.execute(select(*_VERSION).where(wanted)).one_or_none() if is_id(number) else None
        if found is None:
            message = f"workflow {ref!r} has no version {number}; list them with GET /workflows/{row.id}/versions"
            raise VersionNotFound(message)
        return version_record(found)

    def _version(self, workflow_id: int, compiled: Compiled) -> WorkflowVersion:
        mine = version.c.workflow_id == workflow_id
        statement = select(*_VERSION).where(mine, version.c.digest == compiled.digest)
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            count = select(func.coalesce(func.max(version.c.number), 0) + 1).where(mine).scalar_subquery()
            values = {name: getattr(compiled, name) for name in ("digest", "graph", "presentation")}
            values |= {"workflow_id": workflow_id, "created_at": self._now}
            made = insert(version).values(**values, number=count).returning(*_VERSION)
            return version_record(self._connection.execute(made).one())
        found = version_record(row)
        if found.presentation == compiled.presentation:
            return found
        change = update(version).where(version.c.id == found.id).values(presentation=compiled.presentation)
        self._connection.execute(change)
        return msgspec.structs.replace(found, presentation=compiled.presentation)

    # --- rows ---

    def _find(self, namespace: str, ref: int | str, *, lock: bool = False) -> Row[Any]:
        statement = _named(select(workflow), namespace, ref)
        if lock:
            statement = statement.with_for_update()
        row = self._connection.execute(statement).one_or_none() if nameable(ref) else None
        if row is None:
            raise WorkflowNotFound(f"there is no workflow {ref!r}; list them with GET /workflows/")
        return row

    def _bump(self, row: Row[Any], **values: Any) -> Row[Any]:
        changes = {"revision": row.revision + 1, "updated_at": self._now} | values
        statement = update(workflow).where(workflow.c.id == row.id).values(**changes).returning(workflow)
        return self._write(statement)

    def _write(self, statement: Executable) -> Row[Any]:
        try:
            return self._connection.execute(statement).one()
        except (DataError, OverflowError, ValueError) as error:
            raise cannot_hold(error) from error

    def _learn(self, row: Row[Any], tasks: tuple[DraftTask, ...]) -> Workflow:
        draft = workflow_record(row, tasks)
        self._learned.append(draft)
        return draft

    def _tasks(self, row: Row[Any]) -> tuple[DraftTask, ...]:
        known = self._cache.get(row.id, row.revision)
        return known.tasks if known is not None else tuple(self._tasks_of([row.id]).get(row.id, ()))

    def _tasks_of(self, workflows: list[int]) -> dict[int, list[DraftTask]]:
        statement = select(*_TASK).where(task.c.workflow_id.in_(workflows)).order_by(task.c.position, task.c.id)
        found: dict[int, list[DraftTask]] = {}
        for row in self._connection.execute(statement).all() if workflows else ():
            made = task_record(row)
            found.setdefault(made.workflow_id, []).append(made)
        return found


def nameable(ref: int | str) -> bool:
    """Whether a database could hold such an id or key at all."""
    if isinstance(ref, int):
        return is_id(ref)
    return "\0" not in ref and not any("\ud800" <= letter <= "\udfff" for letter in ref)


def _named(statement: Select[Any], namespace: str, ref: int | str) -> Select[Any]:
    column = workflow.c.id if isinstance(ref, int) else workflow.c.key
    return statement.where(column == ref, workflow.c.namespace == namespace, workflow.c.archived_at.is_(None))


def _with(tasks: tuple[DraftTask, ...], one: DraftTask) -> tuple[DraftTask, ...]:
    """In its place by (order, id)."""
    place = bisect(tasks, (one.order, one.id), key=lambda t: (t.order, t.id))
    return *tasks[:place], one, *tasks[place:]


def _free_key(taken: set[str]) -> str:
    number = 1
    while f"task_{number}" in taken:
        number += 1
    return f"task_{number}"


def cannot_hold(error: Exception) -> Invalid:
    """For numbers and texts that get past every check but not into a column."""
    return Invalid(f"the database cannot hold this: {error}")


def key_taken(key: str | None) -> KeyTaken:
    return KeyTaken(f"another workflow has the key {key!r}; choose another or archive that workflow", pointer="/key")


def _task_key_taken(key: str) -> KeyTaken:
    return KeyTaken(f"another task of this workflow has the key {key!r}; choose another", pointer="/key")
