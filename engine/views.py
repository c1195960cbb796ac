"""What a caller sees of an execution: folded from its journal, never taken from an owner's memory.

Folded states are kept (least recently used), so that a status costs the events since the last one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, assert_never

import msgspec

from engine.compensation import address, is_compensation
from engine.errors import ExecutionNotFound, TaskError
from engine.fans import scope_of
from engine.library import Entry, Library
from engine.model import ExecutionRow, ExecutionView, TaskRun
from engine.ports import WHOLE_HISTORY, PoolSlot, Store
from engine.secrets import shown
from engine.state import State, derived_status
from engine.states import SlotStage, TaskStatus, is_terminal
from engine.task_state import TaskState
from engine.timers import replay

KEPT = 5_000
KEPT_WEIGHT = 128 * 1024 * 1024
"""Executions that are kept, and their weight together: bytes, about."""
BEGUN = 1_000
"""Rows of executions that this process has just started: who waits for one need not read it."""


class Folded:
    """An execution whose status and flags can be looked at for nothing. `state` is shared: it goes on at any await."""

    __slots__ = ("entry", "kept", "row", "state", "view")

    def __init__(self, row: ExecutionRow, entry: Entry) -> None:
        self.row = row
        self.entry = entry
        self.state = State(row.id, entry.graph)
        self.view: ExecutionView | None = None
        self.kept = 0
        """The weight with which it counts among those kept."""


class Views:
    """Reads executions."""

    def __init__(self, store: Store, library: Library) -> None:
        self._store = store
        self._library = library
        self._kept: OrderedDict[int, Folded] = OrderedDict()
        self._weight = 0
        self._begun: dict[int, ExecutionRow] = {}

    def began(self, row: ExecutionRow) -> None:
        """This process has just stored `row`; only what never changes of it is looked at."""
        self._begun[row.id] = row
        if len(self._begun) > BEGUN:
            del self._begun[next(iter(self._begun))]

    async def get(self, execution_id: int) -> ExecutionView:
        """The execution as its journal has it now. Raises `ExecutionNotFound`."""
        return await self.render(await self.fold(execution_id))

    async def render(self, folded: Folded) -> ExecutionView:
        """All that a caller sees of it, each begun task with its input: what an answer costs, and a look need not."""
        if folded.view is None:
            folded.view = _view(folded)
        line = [key for key, task in folded.state.active.items() if task.status is TaskStatus.SCHEDULED]
        if line and folded.entry.graph.limited:
            return await self._with_reasons(folded.view)
        return folded.view

    async def _with_reasons(self, view: ExecutionView) -> ExecutionView:
        """Why its scheduled tasks wait: no event says so, because it changes with what others hold."""
        slots = {slot.task: slot for slot in await self._store.get_slots([view.id])}
        tasks = tuple(
            msgspec.structs.replace(task, reason=_why(slots[task.key + task.iteration]))
            if task.status is TaskStatus.SCHEDULED and task.key + task.iteration in slots
            else task
            for task in view.tasks
        )
        return msgspec.structs.replace(view, tasks=tasks)

    async def heard(self, execution_id: int, dedupe_key: str) -> int | None:
        """The id of the signal with this key that its journal has. Raises `ExecutionNotFound`."""
        return (await self.fold(execution_id)).state.heard.get(dedupe_key)

    async def fold(self, execution_id: int) -> Folded:
        """The execution as its journal has it now, to look at. Raises `ExecutionNotFound`."""
        folded = self._kept.get(execution_id)
        if folded is not None and is_terminal(folded.state.status):
            return folded
        known = 0 if folded is None else folded.state.seq
        reading = self._store.read_events({execution_id: known}, WHOLE_HISTORY)
        if folded is None:
            begun, found = await asyncio.gather(self._begin(execution_id), reading)
            folded = self._kept.get(execution_id) or begun
        else:
            found = await reading
        news = found.get(execution_id, [])[folded.state.seq - known :]
        if news:
            replay(folded.state, news)
            folded.view = None
        self._keep(folded)
        return folded

    async def _begin(self, execution_id: int) -> Folded:
        row = self._begun.pop(execution_id, None)
        row = row or (await self._store.get_executions([execution_id])).get(execution_id)
        if row is None:
            raise ExecutionNotFound(f"there is no execution {execution_id}; list them with GET /executions")
        entry = (await self._library.get([row.version_id]))[row.version_id]
        return Folded(row, entry)

    def _keep(self, folded: Folded) -> None:
        self._forget(folded.row.id)
        folded.kept = folded.state.weight
        self._weight += folded.kept
        self._kept[folded.row.id] = folded
        while len(self._kept) > 1 and (len(self._kept) > KEPT or self._weight > KEPT_WEIGHT):
            self._forget(next(iter(self._kept)))

    def _forget(self, execution_id: int) -> None:
        old = self._kept.pop(execution_id, None)
        if old is not None:
            self._weight -= old.kept


def _why(slot: PoolSlot) -> str:
    match slot.stage:
        case SlotStage.KEY:
            return f"waits for a slot of the concurrency key {slot.key!r}, which has {slot.key_limit}"
        case SlotStage.WORKFLOW:
            return f"waits for a slot of its workflow, which has {slot.workflow_limit}"
        case SlotStage.HELD:
            return "waits for a slot of an engine"
        case _:
            assert_never(slot.stage)


def _view(folded: Folded) -> ExecutionView:
    row, state = folded.row, folded.state
    status = derived_status(state)
    order = folded.entry.graph.display_order
    tasks = (*(_task_run(folded, key) for key in _addresses(state, order)), *_compensations(folded))
    state.fans.lists.clear()  # rendered for these inputs; nobody else needs them
    return ExecutionView(
        row.id,
        row.workflow_id,
        folded.entry.version.number,
        status,
        state.input,
        state.output() if is_terminal(status) else None,
        state.error,
        row.created_at,
        state.started_at,
        state.ended_at,
        state.seq,
        tasks,
        row.labels,
        row.rerun_of,
        state.cancelling,
        row.parent_id,
        row.root_id,
        state.usage,
    )


def _compensations(folded: Folded) -> list[TaskRun]:
    """Those that have begun, then those that will, in their order; none while nothing is undone."""
    state = folded.state
    if not state.stopping:
        return []
    keys = [*filter(is_compensation, state.tasks)]
    if not is_terminal(state.status):
        keys += map(address, reversed(state.undo))
    return [_task_run(folded, key) for key in keys]


def _addresses(state: State, outer: Iterable[str]) -> Iterator[str]:
    """Each task is followed by the items, or rounds, that it has begun."""
    for key in outer:
        yield key
        fan = state.fans.get(key) if state.fans else None
        if fan is not None:
            yield from _addresses(state, fan.first(key))


def _task_run(folded: Folded, run: str) -> TaskRun:
    graph = folded.entry.graph
    vertex = graph.by_key[run]
    key = vertex.key
    state = folded.state.tasks.get(run)
    unreached = state is None and is_terminal(folded.state.status)
    task = state or TaskState()
    undone = vertex.compensates
    return TaskRun(
        key,
        _name(graph.presentation.names, key, undone),
        vertex.task.type,
        TaskStatus.SKIPPED if unreached else task.status,
        run[len(key) :],
        task.attempt,
        _input(folded.state, run) if state is not None and state.attempt else None,
        task.output if task.status is TaskStatus.COMPLETED else None,
        task.error,
        task.label,
        "execution_ended" if unreached else task.reason,
        task.scheduled_at,
        task.started_at,
        task.ended_at,
        task.due,
        vertex.task.executor,
        undone,
        task.child,
        task.usage,
    )


def _name(names: Mapping[str, str], key: str, undone: str | None) -> str:
    return names.get(key, key) if undone is None else f"{names.get(undone, undone)} (compensation)"


def _input(state: State, run: str) -> Any:
    """The rendered config: templates refer to ancestors only, so it is what the attempt was given."""
    state.now = state.tasks[run].started_at or 0.0
    config = state.graph.by_key[run].config
    try:
        rendered = config.render(scope_of(state, run))
        return shown(rendered) if config.secrets else rendered
    except TaskError:
        return None
