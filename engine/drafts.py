"""Definitions: CRUD of drafts with every check, and the versions they compile to.

The response cache is invalidated here and nowhere else: marked before a commit, settled after it.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from msgspec import structs

from engine import limits
from engine.documents import pointer
from engine.errors import Fault, Invalid, InvalidWorkflow, TaskNotFound
from engine.graph import NodeTypes, check, compile_definition, stored
from engine.library import Entry, Library
from engine.model import DEFAULT_NAMESPACE, DraftTask, Workflow
from engine.ports import Compiled, Definition, Dialect, NewTask, NewWorkflow, ResponseCache, Store, TaskEdit

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*|[0-9][A-Za-z0-9_.-]*[A-Za-z_.-][A-Za-z0-9_.-]*")
"""Letters, digits, `_`, `-`, `.`; not digits alone, which would be an id."""
TASK_KEY = re.compile(r"[A-Za-z0-9_-]+")
"""As a segment of a template's path."""

Ref = int | str
BETWEEN_TASKS = frozenset({"key", "order", "execution_type", "depends_on", "on_error"})
"""Fields of a task that other tasks, or their order, depend on."""


class Drafts:
    """Create, change, archive; and the current version of each."""

    def __init__(
        self,
        store: Store,
        library: Library,
        dialects: Mapping[str, Dialect],
        nodes: NodeTypes,
        cache: ResponseCache | None,
    ) -> None:
        self._store = store
        self._library = library
        self._dialects = dialects
        self._nodes = nodes
        self._cache = cache
        self._current: dict[Ref, tuple[int, int, Entry]] = {}
        self._changes = 0

    # --- workflows ---

    async def create(self, new: NewWorkflow) -> Workflow:
        _check_texts({"name": new.name, "description": new.description})
        _check_workflow_key(new.key)
        tags = _tags(new.key)
        async with self._writing(tags):
            return await self._store.create_workflow(new)

    async def get(self, ref: Ref) -> Workflow:
        return await self._store.get_workflow(DEFAULT_NAMESPACE, ref)

    async def page(self, skip: int, limit: int) -> tuple[list[Workflow], int]:
        if skip < 0 or not 1 <= limit <= limits.PAGE:
            raise Invalid(f"skip is at least 0 and limit between 1 and {limits.PAGE}", pointer="/limit")
        return await self._store.list_workflows(DEFAULT_NAMESPACE, skip, limit)

    async def update(self, ref: Ref, changes: Mapping[str, Any]) -> Workflow:
        _check_texts(changes)
        _check_workflow_key(changes.get("key"))
        before = await self.get(ref)
        async with self._writing(_tags(before.id, before.key, changes.get("key"))):
            return await self._store.update_workflow(DEFAULT_NAMESPACE, before.id, changes)

    async def archive(self, ref: Ref) -> None:
        before = await self.get(ref)
        async with self._writing(_tags(before.id, before.key)):
            await self._store.archive_workflow(DEFAULT_NAMESPACE, before.id)

    # --- tasks ---

    async def task(self, ref: Ref, task_id: int) -> DraftTask:
        return _find(await self.get(ref), task_id)

    async def add_task(self, ref: Ref, new: NewTask) -> DraftTask:
        _check_texts({"name": new.name, "description": new.description})
        _check_task_key(new.key)
        return _find(*await self._edit(ref, TaskEdit(partial(self._check_edit, None, {}), new=new)))

    async def update_task(self, ref: Ref, task_id: int, changes: Mapping[str, Any]) -> DraftTask:
        _check_texts(changes)
        _check_task_key(changes.get("key"))
        edit = TaskEdit(partial(self._check_edit, task_id, changes), task_id=task_id, changes=changes)
        return _find(*await self._edit(ref, edit))

    async def delete_task(self, ref: Ref, task_id: int) -> None:
        await self._edit(ref, TaskEdit(self._checked, task_id=task_id))

    async def _edit(self, ref: Ref, edit: TaskEdit) -> tuple[Workflow, int]:
        """Settles the key that the workflow has after the edit too: somebody may have renamed it meanwhile."""
        before = await self.get(ref)
        tags = _tags(before.id, before.key)
        async with self._writing(tags):
            draft, task_id = await self._store.edit_tasks(DEFAULT_NAMESPACE, before.id, edit)
            tags.extend(tag for tag in _tags(draft.key) if tag not in tags)
        return draft, task_id

    # --- versions ---

    def _checked(self, draft: Workflow) -> None:
        """Raises `InvalidWorkflow` with all faults of the draft."""
        self._define(draft)

    def _check_edit(self, task_id: int | None, changes: Mapping[str, Any], draft: Workflow) -> None:
        """As `_checked`; faults of the edited task (None: the newest) point into the body that was sent."""
        edited = task_id or max(task.id for task in draft.tasks)
        index = next(index for index, task in enumerate(draft.tasks) if task.id == edited)
        if self._stands_alone(draft, index, None if task_id is None else changes):
            return
        try:
            self._define(draft)
        except InvalidWorkflow as error:
            place = pointer("tasks", index)
            faults = [structs.replace(f, pointer=_below(f.pointer, place)) for f in error.faults]
            raise InvalidWorkflow(error.message, faults=faults) from None

    def _stands_alone(self, draft: Workflow, index: int, changes: Mapping[str, Any] | None) -> bool:
        """Whether the edit (None: the task is new) is sound whatever the other tasks are, which were checked before.

        So that the ten-thousandth task costs what the first one did. Anything doubtful is left to the whole check.
        """
        task = draft.tasks[index]
        if changes is None:
            follows = index == len(draft.tasks) - 1 < limits.TASKS and task.on_error in ("fail", "continue")
            alone = follows and {task.key for task in draft.tasks[:-1]}.issuperset(task.depends_on)
        else:
            alone = BETWEEN_TASKS.isdisjoint(changes)
        if not alone:
            return False
        try:
            self._define(structs.replace(draft, tasks=(structs.replace(task, depends_on=(), on_error="fail"),)))
        except InvalidWorkflow:
            return False
        return True

    def _define(self, draft: Workflow) -> Definition:
        definition = self._dialects[draft.dialect].parse(draft)
        faults = check(definition, self._nodes)
        if faults:
            raise InvalidWorkflow(_summary(faults), faults=faults)
        return definition

    def _compile(self, draft: Workflow) -> Compiled:
        return compile_definition(stored(self._define(draft), self._nodes))

    async def current(self, ref: Ref) -> tuple[int, Entry]:
        """The workflow's id and the version its draft stands for, made if it is new."""
        known = self._current.get(ref)
        if known is not None and await self._is_fresh(ref, known):
            return known[0], known[2]
        changes = self._changes
        version, revision = await self._store.ensure_version(DEFAULT_NAMESPACE, ref, self._compile)
        entry = self._library.keep(version)
        if changes == self._changes:
            self._current[ref] = (version.workflow_id, revision, entry)
            if len(self._current) > limits.TASKS:
                self._current.pop(next(iter(self._current)))
        return version.workflow_id, entry

    async def _is_fresh(self, ref: Ref, known: tuple[int, int, Entry]) -> bool:
        """Where only this process writes, every change passes here; elsewhere the revision is asked for."""
        if not self._store.shared:
            return True
        found = await self._store.current_revisions(DEFAULT_NAMESPACE, [ref])
        return found.get(ref) == known[:2]

    @asynccontextmanager
    async def _writing(self, tags: list[str]) -> AsyncIterator[None]:
        """A write of definitions: cached answers with these tags are neither served nor filled while it lasts."""
        if self._cache is not None:
            await self._cache.invalidate(tags)
        try:
            yield
        finally:
            self._changes += 1
            self._current.clear()
            if self._cache is not None:
                await self._cache.settle(tags)


def _tags(*refs: Ref | None) -> list[str]:
    return ["workflows", *(f"workflow:{ref}" for ref in dict.fromkeys(refs) if ref is not None)]


def _find(draft: Workflow, task_id: int) -> DraftTask:
    for task in draft.tasks:
        if task.id == task_id:
            return task
    raise TaskNotFound(f"workflow {draft.id} has no task {task_id}; list them with GET /workflows/{draft.id}/tasks/")


def _below(where: str, place: str) -> str:
    return where[len(place) :] if where == place or where.startswith(f"{place}/") else where


def _summary(faults: list[Fault]) -> str:
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return faults[0].message + more


def _check_texts(fields: Mapping[str, Any]) -> None:
    faults = [*_text_faults(fields, "name", limits.NAME), *_text_faults(fields, "description", limits.DESCRIPTION)]
    if "name" in fields and not (fields["name"] or "").strip():
        faults.append(Fault("a name is required", "/name", "required"))
    if faults:
        raise Invalid(_summary(faults), faults=faults)


def _text_faults(fields: Mapping[str, Any], name: str, longest: int) -> list[Fault]:
    text = fields.get(name) or ""
    if len(text) <= longest:
        return []
    return [Fault(f"{name} has {len(text)} characters; at most {longest} are allowed", f"/{name}", "too_long")]


def _check_workflow_key(key: str | None) -> None:
    if key is not None and (not KEY.fullmatch(key) or len(key) > limits.NAME):
        message = f"a key has letters, digits, '_', '-' and '.', not digits alone, at most {limits.NAME} characters"
        raise Invalid(message, pointer="/key", code="invalid_key")


def _check_task_key(key: str | None) -> None:
    if key is not None and (not TASK_KEY.fullmatch(key) or len(key) > limits.NAME):
        raise Invalid("a task's key has letters, digits, '_' and '-'", pointer="/key", code="invalid_key")
