"""*Ordered tasks*: rows sorted by (order, id).

A sync task starts when the sync task before it has ended. An async task starts when the sync task before it has
ended, and then runs beside all that follows. `depends_on` adds edges. A task that some `on_error`, or a case
of a branch, names stands outside the order: it runs only when that other task has failed, or leads to it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from definitions._ways import Way, read_ways
from engine.dialect_ports import Definition
from engine.documents import pointer
from engine.errors import Fault, InvalidWorkflow
from engine.graph import ERROR_LABEL, HINTS, suggestion
from engine.model import DraftTask, Edge, Graph, Presentation, Task, Workflow

KINDS = ("sync", "async")


class OrderedTasks:
    """The dialect of `POST /workflows/{id}/tasks/`."""

    name: ClassVar[str] = "ordered_tasks"

    def parse(self, draft: Workflow) -> Definition:
        rows = sorted(draft.tasks, key=lambda row: (row.order, row.id))
        pointers = {row.key: pointer("tasks", index) for index, row in enumerate(rows)}
        faults = [fault for row in rows for fault in _faults(row, pointers)]
        if faults:
            raise InvalidWorkflow(faults[0].message, faults=faults)
        read = [(row, *read_ways(row.type or "noop", row.parameters, end="end")) for row in rows]
        ways = {row.key: [way for way in ways if way.target is not None] for row, _, ways in read}
        tasks = tuple(_task(row, config) for row, config, _ in read)
        graph = Graph(
            tasks,
            tuple(_edges(rows, ways)),
            max_concurrency=draft.max_concurrency,
            timeout=draft.timeout,
            budget=draft.budget,
        )
        presentation = Presentation({row.key: row.name for row in rows}, tuple(row.key for row in rows))
        return Definition(graph, presentation, pointers, "parameters", "depends_on")


def _task(row: DraftTask, config: dict[str, Any]) -> Task:
    return Task(
        row.key,
        row.type or "noop",
        config,
        row.when,
        row.retry,
        row.timeout,
        row.executor,
        row.on_error,
        row.heartbeat_timeout,
        row.resources,
        row.concurrency_key,
        row.concurrency_limit,
        compensate=row.compensate,
        total_timeout=row.total_timeout,
    )


def _faults(row: DraftTask, pointers: dict[str, str]) -> list[Fault]:
    where = pointers[row.key]
    faults = []
    if row.execution_type not in KINDS:
        message = f"execution_type is sync or async, not {row.execution_type!r:.100}"
        faults.append(Fault(message, f"{where}/execution_type", "invalid_value"))
    for index, key in enumerate(row.depends_on):
        if key not in pointers:
            hint = suggestion(key, pointers) if len(faults) < HINTS else ""
            message = f"depends_on names the task {key!r}, which does not exist{hint}"
            faults.append(Fault(message, f"{where}/depends_on/{index}", "unknown_task"))
    return faults


def _edges(rows: list[DraftTask], ways: Mapping[str, list[Way]]) -> list[Edge]:
    handlers = {row.on_error for row in rows}.union(str(way.target) for row in rows for way in ways[row.key])
    keys = {row.key for row in rows}
    edges: dict[Edge, None] = {}
    before: str | None = None
    for row in rows:
        if row.on_error in keys:
            edges[Edge(row.key, row.on_error, ERROR_LABEL)] = None
        for way in ways[row.key]:
            edges[Edge(row.key, str(way.target), way.label)] = None
        for key in row.depends_on:
            edges[Edge(key, row.key)] = None
        if row.key in handlers:
            continue
        if before is not None:
            edges[Edge(before, row.key)] = None
        if row.execution_type == "sync":
            before = row.key
    return list(edges)


dialect = OrderedTasks()
