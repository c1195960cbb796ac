"""Definitions: CRUD of drafts with every check, and the versions they compile to.

The response cache is invalidated here and nowhere else: marked before a commit, settled after it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from msgspec import structs

from engine import limits
from engine.action_book import REFERRING, names_in
from engine.actions import ACTION, Actions
from engine.authoring import (
    Authoring,
    Form,
    Report,
    Saved,
    Written,
    key_faults,
    key_of,
    source_of,
    summary,
    text_faults,
)
from engine.cache_port import ResponseCache
from engine.documents import pointer
from engine.errors import (
    Fault,
    Invalid,
    InvalidDocument,
    InvalidWorkflow,
    TaskNotFound,
    WorkflowNotFound,
    WrittenOtherwise,
)
from engine.graph import BRANCH, CONDITIONAL, TASK_KEY
from engine.library import Entry, Library
from engine.model import DEFAULT_NAMESPACE, DraftTask, Workflow
from engine.ports import Compiled, NewTask, NewWorkflow, Store, TaskEdit, VersionRow
from engine.sources import Source

UNNAMED = "Untitled workflow"

Ref = int | str
Check = Callable[[Actions, Workflow], None]
BETWEEN_TASKS = frozenset({"key", "order", "execution_type", "depends_on", "on_error", "type"})
"""Fields of a task that other tasks, or their order, depend on; `type`, because a branch leads to others."""


class Drafts:
    """Create, change, archive; and the current version of each."""

    def __init__(
        self,
        store: Store,
        library: Library,
        authoring: Authoring,
        cache: ResponseCache | None,
    ) -> None:
        self._store = store
        self._library = library
        self._authoring = authoring
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
            draft = await self._store.update_workflow(DEFAULT_NAMESPACE, before.id, changes)
        if draft.source is not None:
            await self.current(draft.id)
        return draft

    async def archive(self, ref: Ref) -> None:
        before = await self.get(ref)
        async with self._writing(_tags(before.id, before.key)):
            await self._store.archive_workflow(DEFAULT_NAMESPACE, before.id)

    # --- documents ---

    async def inspect(self, source: Source) -> Report:
        """Everything that is wrong in a document. In a thread: a large one takes a while."""
        read = await asyncio.to_thread(self._authoring.read, source)
        actions = await self._actions(read.actions)
        return await asyncio.to_thread(self._authoring.report, source, read, actions)

    def is_document(self, value: Mapping[str, Any]) -> bool:
        return self._authoring.recognise(value) is not None

    async def create_document(self, source: Source, *, key: str | None = None) -> Saved:
        """With its version. Raises `InvalidWorkflow`, `InvalidDocument`; `key` if the document has none."""
        report = await self._readable(source)
        head = report.head
        key = head.key or key
        name = head.name or key or UNNAMED
        new = NewWorkflow(
            DEFAULT_NAMESPACE,
            name,
            key,
            head.description,
            report.dialect or "",
            source.data,
            head.max_concurrency,
            head.timeout,
            head.triggers or (),
            head.budget,
        )
        made = await self.create(new)
        await self.current(made.id)
        return Saved(made, report.warnings)

    async def replace(self, ref: Ref, source: Source, **more: Any) -> Saved:
        """The document takes the place of the draft; a new version only if it means something new.

        Name, key and description stay if the document does not say them.
        """
        report = await self._readable(source)
        head = report.head
        said = {name: getattr(head, name) for name in ("name", "key", "description")}
        changes = {name: value for name, value in said.items() if value is not None}
        beside = {"max_concurrency": head.max_concurrency, "timeout": head.timeout, "budget": head.budget, **more}
        changes |= {"dialect": report.dialect, "source": source.data, **beside}
        draft = await self.get(ref)
        if any(getattr(draft, name) != value for name, value in changes.items()):
            draft = await self.update(draft.id, changes | {"triggers": head.triggers or ()})
        return Saved(draft, report.warnings)

    async def key_of(self, source: Source, fallback: str) -> str:
        """What it is registered by: its key, else its name if that could be one, else `fallback`."""
        return key_of((await self._readable(source)).head, fallback)

    async def register(self, source: Source, key: str) -> tuple[Workflow, str]:
        """Created or updated by its key; answers `created`, `updated` or `unchanged`."""
        try:
            before = await self.get(key)
        except WorkflowNotFound:
            return (await self.create_document(source, key=key)).workflow, "created"
        after = (await self.replace(before.id, source)).workflow
        return after, "unchanged" if after.revision == before.revision else "updated"

    async def _readable(self, source: Source) -> Report:
        return _sound(await self.inspect(source))

    async def written(self, ref: Ref, form: Form) -> Written:
        """The draft in one of its forms. Raises `WrittenOtherwise` for the source of what has none."""
        draft = await self.get(ref)
        return await asyncio.to_thread(self._authoring.written_as, draft, form)

    async def compiled(self, what: Ref | Source) -> tuple[Compiled, tuple[Fault, ...]]:
        """What a document, or a draft, means now, and its warnings; nothing is kept. Raises `InvalidWorkflow`."""
        if not isinstance(what, Source):
            draft = await self.get(what)
            actions = await self._actions(await asyncio.to_thread(self._authoring.actions_of, draft))
            return await asyncio.to_thread(self._authoring.compile, draft, lambda names: actions), ()
        read = await asyncio.to_thread(self._authoring.read, what)
        actions = await self._actions(read.actions)
        report = _sound(await asyncio.to_thread(self._authoring.report, what, read, actions))
        return await asyncio.to_thread(self._authoring.compile_read, read, actions), report.warnings

    async def _actions(self, names: Collection[str]) -> Actions:
        return await self._store.get_actions(DEFAULT_NAMESPACE, names) if names else {}

    def forget(self) -> None:
        """What drafts mean may have changed: an action did."""
        self._changes += 1
        self._current.clear()

    # --- tasks ---

    async def tasks(self, ref: Ref) -> list[DraftTask]:
        draft = await self.get(ref)
        _check_rows(draft)
        return list(draft.tasks)

    async def task(self, ref: Ref, task_id: int) -> DraftTask:
        draft = await self.get(ref)
        _check_rows(draft)
        return _find(draft, task_id)

    async def add_task(self, ref: Ref, new: NewTask) -> DraftTask:
        _check_texts({"name": new.name, "description": new.description})
        _check_task_key(new.key)
        check = partial(self._check_edit, None, {})
        return _find(*await self._edit(ref, check, new.type, new.parameters, new=new))

    async def update_task(self, ref: Ref, task_id: int, changes: Mapping[str, Any]) -> DraftTask:
        _check_texts(changes)
        _check_task_key(changes.get("key"))
        check = partial(self._check_edit, task_id, changes)
        kind, parameters = changes.get("type") or ACTION, changes.get("parameters", {})
        return _find(*await self._edit(ref, check, kind, parameters, task_id=task_id, changes=changes))

    async def delete_task(self, ref: Ref, task_id: int) -> None:
        await self._edit(ref, self._checked, None, {}, task_id=task_id)

    async def _edit(
        self, ref: Ref, check: Check, kind: str | None, parameters: Mapping[str, Any], **edit: Any
    ) -> tuple[Workflow, int]:
        """Checks with the actions that tasks of the draft, or one of this kind with these parameters, refer to; of one
        that somebody adds meanwhile the version is checked.

        Settles the key that the workflow has after the edit too: somebody may have renamed it meanwhile.
        """
        before = await self.get(ref)
        configs = [(t.type, t.parameters) for t in before.tasks if t.type in REFERRING]
        actions = await self._actions({name for pair in (*configs, (kind, parameters)) for name in names_in(*pair)})
        tags = _tags(before.id, before.key)
        async with self._writing(tags):
            change = TaskEdit(partial(check, actions), **edit)
            draft, task_id = await self._store.edit_tasks(DEFAULT_NAMESPACE, before.id, change)
            tags.extend(tag for tag in _tags(draft.key) if tag not in tags)
        return draft, task_id

    # --- versions ---

    def _checked(self, actions: Actions, draft: Workflow) -> None:
        """Raises `InvalidWorkflow` with all faults of the draft."""
        _check_rows(draft)
        self._authoring.define(draft, actions)

    def _check_edit(self, task_id: int | None, changes: Mapping[str, Any], actions: Actions, draft: Workflow) -> None:
        """As `_checked`; faults of the edited task (None: the newest) point into the body that was sent."""
        _check_rows(draft)
        edited = task_id or max(task.id for task in draft.tasks)
        index = next(index for index, task in enumerate(draft.tasks) if task.id == edited)
        if self._stands_alone(draft, index, None if task_id is None else changes):
            return
        try:
            self._checked(actions, draft)
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
        if not alone or task.type in BRANCH | CONDITIONAL | REFERRING:
            return False
        lone = structs.replace(task, depends_on=(), on_error="fail")
        try:
            self._authoring.define(structs.replace(draft, tasks=(lone,)))
        except InvalidWorkflow:
            return False
        return True

    async def current(self, ref: Ref) -> tuple[int, Entry]:
        """The workflow's id and the version its draft stands for, made if it is new."""
        known = self._current.get(ref)
        if known is not None and await self._is_fresh(ref, known):
            return known[0], known[2]
        changes = self._changes
        version, revision = await self._store.ensure_version(DEFAULT_NAMESPACE, ref, self._authoring.compile)
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

    async def versions(self, ref: Ref, limit: int) -> list[VersionRow]:
        if not 1 <= limit <= limits.PAGE:
            raise Invalid(f"limit is between 1 and {limits.PAGE}", pointer="/limit")
        return await self._store.list_versions(DEFAULT_NAMESPACE, ref, limit)

    async def version(self, ref: Ref, number: int, form: Form) -> Written:
        """A version as a document."""
        draft, version = await self.get(ref), await self._store.get_version(DEFAULT_NAMESPACE, ref, number)
        return await asyncio.to_thread(self._authoring.version_as, draft, version, form)

    async def rollback(self, ref: Ref, number: int) -> Workflow:
        """The draft becomes what version `number` was written in, and that version is the current one again.

        Raises `VersionNotFound`, `WrittenOtherwise` for a version that was rows.
        """
        version = await self._store.get_version(DEFAULT_NAMESPACE, ref, number)
        source, beside = source_of(version)
        return (await self.replace(version.workflow_id, Source(source), **beside)).workflow

    @asynccontextmanager
    async def _writing(self, tags: list[str]) -> AsyncIterator[None]:
        """A write of definitions: cached answers with these tags are neither served nor filled while it lasts."""
        if self._cache is not None:
            await self._cache.invalidate(tags)
        try:
            yield
        finally:
            self.forget()
            if self._cache is not None:
                await self._cache.settle(tags)


def _sound(report: Report) -> Report:
    """Raises all faults of it, if there are any."""
    if report.faults:
        kind = InvalidDocument if report.dialect is None else InvalidWorkflow
        raise kind(summary(report.faults), faults=report.faults)
    return report


def _tags(*refs: Ref | None) -> list[str]:
    return ["workflows", *(f"workflow:{ref}" for ref in dict.fromkeys(refs) if ref is not None)]


def _find(draft: Workflow, task_id: int) -> DraftTask:
    for task in draft.tasks:
        if task.id == task_id:
            return task
    raise TaskNotFound(f"workflow {draft.id} has no task {task_id}; list them with GET /workflows/{draft.id}/tasks/")


def _check_rows(draft: Workflow) -> None:
    """Raises `WrittenOtherwise` if its draft is a document."""
    if draft.source is not None:
        message = (
            f"workflow {draft.id} is written as {draft.dialect}, as one document; "
            f"read it with GET /workflows/{draft.id}?format=source, change it, and PUT it to /workflows/{draft.id}"
        )
        raise WrittenOtherwise(message)


def _below(where: str, place: str) -> str:
    return where[len(place) :] if where == place or where.startswith(f"{place}/") else where


def _check_texts(fields: Mapping[str, Any]) -> None:
    faults = text_faults(fields)
    if faults:
        raise Invalid(summary(faults), faults=faults)


def _check_workflow_key(key: str | None) -> None:
    faults = key_faults(key)
    if faults:
        raise Invalid(faults[0].message, faults=faults, code=faults[0].code)


def _check_task_key(key: str | None) -> None:
    if key is not None and (not TASK_KEY.fullmatch(key) or len(key) > limits.NAME):
        raise Invalid("a task's key has letters, digits, '_' and '-'", pointer="/key", code="invalid_key")
