"""*YAML tasks*: a list of tasks, each naming those that it `depends_on`; in YAML or JSON.

`type: activity` means the type in `activity_type`. An entry of `depends_on` is a key, or `{task, label}`: after that
outcome only. `next` leads on, as in *steps*.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from definitions._builder import (
    ACTION,
    OPTIONS,
    Builder,
    document_of,
    in_order,
    written_head,
    written_next,
    written_options,
)
from definitions._ways import read_ways
from engine.dialect_ports import Definition, Head
from engine.documents import pointer
from engine.graph import ERROR_LABEL
from engine.model import Edge, Graph, Presentation, Workflow

_FIELDS = (*OPTIONS, "id", "type", "activity_type", "action", "config", "depends_on", "next")
ACTIVITY = "activity"


class YamlTasks:
    """Told by its `tasks`."""

    name: ClassVar[str] = "yaml_tasks"
    field: ClassVar[str] = "tasks"

    def parse(self, draft: Workflow) -> Definition:
        return self.read(document_of(draft))[1]

    def read(self, document: Mapping[str, Any]) -> tuple[Head, Definition]:
        builder = Builder(document)
        head = builder.head(("version", "tasks"))
        rows: list[Any] = builder.value(document, "tasks", "", list[Any], [])
        found = [(row, key, pointer("tasks", i)) for i, row in enumerate(rows) if (key := _read_task(builder, row, i))]
        for row, key, where in found:
            _read_edges(builder, row, key, where)
        return head, builder.build(config_field="config", edge_field="depends_on")

    def write(self, head: Head, graph: Graph, presentation: Presentation) -> dict[str, Any]:
        keys = {task.key for task in graph.tasks}
        before: dict[str, list[Any]] = {}
        onward: dict[str, list[Edge]] = {}
        for edge in graph.edges:
            if edge.target not in keys:
                onward.setdefault(edge.source, []).append(edge)
            elif edge.label != ERROR_LABEL:
                entry: Any = edge.source if edge.label is None else {"task": edge.source, "label": edge.label}
                before.setdefault(edge.target, []).append(entry)
        rows = []
        for task in in_order(graph, presentation):
            row = {"id": task.key, **written_options(task, presentation), "type": task.type}
            row |= {"config": task.config} if task.config else {}
            row |= {"depends_on": before[task.key]} if task.key in before else {}
            row |= {"next": written_next(onward[task.key])} if task.key in onward else {}
            rows.append(row)
        return {**written_head(head), "tasks": rows}


def _read_task(builder: Builder, row: Any, index: int) -> str | None:
    """Its key; None when it has none."""
    where = pointer("tasks", index)
    if not isinstance(row, dict):
        builder.fault("a task is an object", where)
        return None
    for name in row:
        if name not in _FIELDS:
            message = f"a task has no field {name!r:.100}{builder.hint(name, _FIELDS)}"
            builder.fault(message, where + pointer(name), "unknown_field")
    key = builder.value(row, "id", where, str | int | None, None)
    if key is None:
        builder.fault("a task needs an id", f"{where}/id", "required")
        return None
    key = str(key)
    kind, config = _work(builder, row, where)
    config, ways = read_ways(kind, config, end="end")
    known = key in builder.tasks
    builder.add(key, kind, config, row, where)
    if known or key not in builder.tasks:
        return None
    if "activity_type" in row:
        builder.types[key] = f"{where}/activity_type"
    builder.ways(key, ways, f"{where}/config")
    return key


def _work(builder: Builder, row: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    config = builder.mapping(row, "config", where)
    kind = builder.value(row, "type", where, str, ACTIVITY if "activity_type" in row else "")
    activity = builder.value(row, "activity_type", where, str, "")
    if kind == ACTIVITY:
        if not activity:
            builder.fault("a task of type activity says which in activity_type", f"{where}/activity_type", "required")
        return activity or "noop", config
    if activity:
        builder.fault("activity_type goes with `type: activity`; leave one out", f"{where}/activity_type")
    action = builder.value(row, "action", where, str, "")
    if action and not kind:
        return ACTION, {"action": action, **({"config": config} if config else {})}
    return kind or "noop", {**config, "action": action} if action else config


def _read_edges(builder: Builder, row: Mapping[str, Any], key: str, where: str) -> None:
    given = row.get("depends_on")
    entries = given if isinstance(given, list) else [] if given is None else [given]
    for index, entry in enumerate(entries):
        place = f"{where}/depends_on" + (pointer(index) if isinstance(given, list) else "")
        source, label = _entry(entry)
        if source is None:
            builder.fault("an entry of depends_on is the id of a task, or {task, label}", place)
        elif source in builder.tasks:
            builder.follow(source, key, label, place)
        else:
            hint = builder.hint(source, builder.tasks)
            message = f"depends_on names the task {source!r:.100}, which does not exist{hint}"
            builder.fault(message, place, "unknown_task")
    if "next" in row:
        builder.next(key, row["next"], f"{where}/next")


def _entry(entry: Any) -> tuple[str | None, str | None]:
    """Source and label; no source: it cannot be read."""
    if isinstance(entry, dict) and entry.keys() <= {"task", "label"}:
        source, label = entry.get("task"), entry.get("label")
        return (source, label) if isinstance(source, str) and isinstance(label, str | None) else (None, None)
    if isinstance(entry, str | int) and not isinstance(entry, bool):
        return str(entry), None
    return None, None


dialect = YamlTasks()
