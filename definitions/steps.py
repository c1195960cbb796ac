"""*Steps*: an object of named steps, each naming what comes `next`; it begins at `start_at`.

What a step has beyond the fields of every task is its config (or stands in `config`). A step without a `type` is an
action: one stored elsewhere that has the name in `action`, or that of the step. A step that nothing leads to never
runs.
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
from engine.graph import END
from engine.model import Edge, Graph, Presentation, Workflow

_FIELDS = frozenset({*OPTIONS, "type", "action", "next", "config"})


class Steps:
    """Told by its `steps`."""

    name: ClassVar[str] = "steps"
    field: ClassVar[str] = "steps"

    def parse(self, draft: Workflow) -> Definition:
        return self.read(document_of(draft))[1]

    def read(self, document: Mapping[str, Any]) -> tuple[Head, Definition]:
        builder = Builder(document)
        head = builder.head(("start_at", "steps", "version"))
        steps = builder.mapping(document, "steps", "")
        for key, step in steps.items():
            where = pointer("steps", key)
            if key == "end":
                builder.fault("`end` is no name for a step: `next: end` ends the path", where, "invalid_key")
            elif isinstance(step, dict):
                _read_step(builder, key, step, where)
            else:
                builder.fault("a step is an object", where)
        _keep_reachable(builder, document, steps)
        return head, builder.build(config_field="config", edge_field="next")

    def write(self, head: Head, graph: Graph, presentation: Presentation) -> dict[str, Any]:
        targets = {edge.target for edge in graph.edges}
        tasks = in_order(graph, presentation)
        after: dict[str, list[Edge]] = {}
        for edge in graph.edges:
            after.setdefault(edge.source, []).append(edge)
        starts = [task.key for task in tasks if task.key not in targets]
        steps = {
            task.key: {
                **written_options(task, presentation),
                "type": task.type,
                **({"config": task.config} if task.config else {}),
                "next": written_next(after.get(task.key, ())) or "end",
            }
            for task in tasks
        }
        return {**written_head(head), "start_at": starts[0] if len(starts) == 1 else starts, "steps": steps}


def _read_step(builder: Builder, key: str, step: dict[str, Any], where: str) -> None:
    inline = {name: value for name, value in step.items() if name not in _FIELDS}
    config = {**builder.mapping(step, "config", where), **inline}
    builder.configs[key] = where if inline or "config" not in step else f"{where}/config"
    kind = builder.value(step, "type", where, str | None, None)
    if kind is None:
        action = builder.value(step, "action", where, str, key)
        kind, config = ACTION, {"action": action, **({"config": config} if config else {})}
    elif "action" in step:
        config["action"] = step["action"]
    config, ways = read_ways(kind, config, end="end")
    builder.add(key, kind, config, step, where)
    builder.ways(key, ways, builder.configs[key])
    if "next" in step:
        builder.next(key, step["next"], f"{where}/next")


def _keep_reachable(builder: Builder, document: Mapping[str, Any], steps: Mapping[str, Any]) -> None:
    given = document.get("start_at")
    starts = [given] if isinstance(given, str) else builder.value(document, "start_at", "", list[str], [])
    if steps and not starts and not (given and builder.faults):
        builder.fault("start_at names the step that comes first", "/start_at", "required")
    for start in starts:
        if start not in steps:
            message = f"start_at names the step {start!r:.100}, which does not exist{builder.hint(start, steps)}"
            builder.fault(message, "/start_at", "unknown_task")
    if builder.faults:
        return
    after = builder.successors()
    reached = dict.fromkeys(starts)
    todo = list(starts)
    for key in todo:
        for target in after.get(key, ()):
            if target != END and target in builder.tasks and target not in reached:
                reached[target] = None
                todo.append(target)
    for key in builder.tasks:
        if key not in reached:
            builder.warn(f"nothing leads to the step {key!r}; it never runs", pointer("steps", key), "unreachable")
    builder.keep([key for key in builder.tasks if key in reached])


dialect = Steps()
