"""The one check of what a workflow means, and the one spelling in which it is stored."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from msgspec import structs

from engine import limits
from engine.compensation import address, compensation
from engine.dialect_ports import Definition
from engine.documents import pointer
from engine.errors import Fault
from engine.expressions.templates import Template, compile_condition, compile_template
from engine.expressions.tree import Place, pointer_of
from engine.graph import HINTS, ancestors_of, find_cycle, suggestion
from engine.model import Task
from engine.placed import Placed, all_tasks
from engine.rendering import ConfigTemplate, compile_config


class NodeTypes(Protocol):
    """What the check needs to know of node types and executors."""

    def config_faults(self, type: str, config: Mapping[str, Any], pointer: str) -> list[Fault]: ...  # noqa: A002

    def names(self) -> Iterable[str]: ...

    def resolve(self, type: str) -> str | None: ...  # noqa: A002

    def canonical(self, type: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]: ...  # noqa: A002

    def conditions(self, type: str, config: Mapping[str, Any]) -> tuple[str, ...]: ...  # noqa: A002

    def public(self, type: str, config: Mapping[str, Any]) -> Mapping[str, Any]: ...  # noqa: A002

    def executors(self) -> Iterable[str]: ...


def check(definition: Definition, nodes: NodeTypes) -> list[Fault]:
    """All faults, each with its pointer in what the user wrote. Empty: it can be executed."""
    graph = definition.graph
    if len(graph.tasks) > limits.TASKS:
        return [Fault(f"a workflow has at most {limits.TASKS} tasks, this one has {len(graph.tasks)}", "/tasks")]
    faults = [*definition.faults, *_check_keys(definition)]
    if len(faults) > len(definition.faults):
        return faults
    undoing = {task.key: undo for task in graph.tasks if (undo := compensation(task)) is not None}
    known = _with_places(definition, undoing) if undoing else definition
    placed = [*all_tasks(known, nodes.resolve, undoing.values())]
    for one in placed:
        faults.extend(_check_task(one, definition, nodes))
    references, bad = _check_templates(placed, nodes)
    faults.extend(bad)
    cycle = find_cycle(graph)
    if cycle:
        where = definition.pointers.get(cycle[0], "") + pointer(*filter(None, [definition.edge_field]))
        shown = " -> ".join(cycle if len(cycle) <= 20 else [*cycle[:10], f"… {len(cycle) - 13} more …", *cycle[-3:]])
        faults.append(Fault(f"the tasks depend on each other in a cycle: {shown}", where, "cycle"))
    else:
        faults.extend(_check_references(definition, references, undoing))
    return faults


def _with_places(definition: Definition, undoing: Mapping[str, Task]) -> Definition:
    """Knows where the compensations stand."""
    at = {undo.key: f"{definition.pointers.get(key, '')}/compensate" for key, undo in undoing.items()}
    configs = {key: f"{where}/config" for key, where in at.items()}
    return structs.replace(definition, pointers=definition.pointers | at, configs=definition.configs | configs)


def _check_keys(definition: Definition) -> list[Fault]:
    """What every later check takes for granted: keys are unique, and edges lead away from tasks."""
    counts = Counter(task.key for task in definition.graph.tasks)
    faults = [
        Fault(
            f"{count} tasks have the key {key!r}; a key names one task",
            definition.pointers.get(key, ""),
            "duplicate_key",
        )
        for key, count in counts.items()
        if count > 1
    ]
    ends = dict.fromkeys(edge.source for edge in definition.graph.edges)
    faults += [
        Fault(f"an edge names the task {end!r}, which does not exist", "", "unknown_task")
        for end in ends
        if end not in counts
    ]
    return faults


def _check_task(placed: Placed, definition: Definition, nodes: NodeTypes) -> list[Fault]:
    task, where, field, kind = placed[:4]
    faults: list[Fault] = [*placed.misplaced()]
    if nodes.resolve(task.type) is None:
        faults.append(Fault(unknown_type(task.type, nodes), kind, "unknown_node_type"))
    else:
        faults.extend(nodes.config_faults(task.type, task.config, field))
    if task.executor is not None and task.executor not in nodes.executors():
        message = f"unknown executor {task.executor!r:.100}{suggestion(task.executor, nodes.executors())}"
        faults.append(Fault(message, f"{where}/executor", "unknown_executor"))
    if task.timeout is not None and not 0 < task.timeout <= limits.DURATION:
        faults.append(Fault("a timeout is in seconds, above 0 and at most a year", f"{where}/timeout", "out_of_range"))
    faults.extend(_check_liveness(task, where))
    if task.on_error not in ("fail", "continue") and task.on_error not in definition.pointers:
        hint = suggestion(task.on_error, ("fail", "continue", *definition.pointers))
        message = f"`on_error` is fail, continue, or the key of a task; there is no task {task.on_error!r:.100}{hint}"
        faults.append(Fault(message, f"{where}/on_error", "unknown_task"))
    return faults


def unknown_type(name: str, nodes: NodeTypes) -> str:
    """What is said of a node type that does not exist."""
    return f"unknown node type {name!r:.100}{type_hint(name, nodes.names())}"


def type_hint(name: str, names: Iterable[str]) -> str:
    """Another spelling of a node type may be what was meant by `name`."""
    return suggestion(name, names) or "; GET /nodes lists them"


def _check_liveness(task: Task, where: str) -> list[Fault]:
    faults: list[Fault] = []
    for name in ("heartbeat_timeout", "total_timeout"):
        seconds = getattr(task, name)
        if seconds is not None and not 0 < seconds <= limits.DURATION:
            message = f"a {name} is in seconds, above 0 and at most a year"
            faults.append(Fault(message, f"{where}/{name}", "out_of_range"))
    if not 1 <= task.concurrency_limit <= limits.CONCURRENCY:
        message = f"a concurrency_limit is between 1 and {limits.CONCURRENCY}"
        faults.append(Fault(message, f"{where}/concurrency_limit", "out_of_range"))
    return faults


References = dict[str, dict[str, Place]]
"""By the key of a task: the tasks that its config and its `when` refer to, with their first places."""


def _check_templates(tasks: Iterable[Placed], nodes: NodeTypes) -> tuple[References, list[Fault]]:
    references: References = {}
    faults: list[Fault] = []
    parts = 0
    for placed in tasks:
        task, where, field, names = placed.task, placed.where, placed.config, placed.names
        mine = references.get(task.key, {})
        conditions = nodes.conditions(task.type, task.config)
        config, wrong = compile_config(task.config, conditions, field, names, placed.apart)
        if config.secrets:
            public = nodes.public(task.type, task.config)
            faults += secret_faults(compile_config(public, (), field, names, placed.apart)[0])
        for template, bad in (
            (config, wrong),
            compile_condition(task.when, f"{where}/when"),
            compile_template(task.concurrency_key, f"{where}/concurrency_key", names),
            *(compile_condition(guard, place, placed.inner_names) for place, guard in placed.guards()),
        ):
            faults += bad
            mine = template.references | mine
            parts += template.parts
        references[task.key] = mine
        if parts > limits.PARTS:
            faults.append(Fault(f"the expressions of a workflow have at most {limits.PARTS} parts", where, "too_large"))
            break
    return references, faults


def secret_faults(public: Template | ConfigTemplate) -> list[Fault]:
    """`public` is what stands in fields that are no place for a secret."""
    return [
        Fault(
            f"the secret {name!r:.100} cannot stand here: this field is kept and shown",
            pointer_of(place),
            "template_secret",
        )
        for name, place in public.secrets.items()
    ]


def _check_references(definition: Definition, references: References, undoing: Mapping[str, Task]) -> list[Fault]:
    """A compensation sees what its task could see, and its output."""
    known = ancestors_of(definition.graph)
    place = {task.key: i for i, task in enumerate(definition.graph.tasks)}
    known |= {undo.key: known[key] | 1 << place[key] for key, undo in undoing.items()}
    faults: list[Fault] = []
    for mine, ancestors in known.items():
        for key, place_of in references.get(mine, {}).items():
            if key not in place:
                hint = suggestion(key, place) if len(faults) < HINTS else ""
                message = f"a template refers to the task {key!r}, which does not exist{hint}"
                faults.append(Fault(message, pointer_of(place_of), "template_unknown_task"))
            elif not ancestors >> place[key] & 1:
                message = f"a template refers to {key!r}, which need not have ended by then; add depends_on: [{key!r}]"
                faults.append(Fault(message, pointer_of(place_of), "template_not_ancestor"))
    return faults


def stored(definition: Definition, nodes: NodeTypes) -> Definition:
    """The same in the one spelling that is stored: types and fields of configs under their own names."""
    tasks = []
    conditions = {}
    for task in definition.graph.tasks:
        kind, config = nodes.canonical(task.type, task.config)
        undo = task.compensate
        if places := nodes.conditions(kind, config):
            conditions[task.key] = places
        if undo is not None:
            name, inner = nodes.canonical(undo.type, undo.config)
            undo = structs.replace(undo, type=name, config=inner)
            if places := nodes.conditions(name, inner):
                conditions[address(task.key)] = places
        tasks.append(structs.replace(task, type=kind, config=config, compensate=undo))
    graph = structs.replace(definition.graph, tasks=tuple(tasks), conditions=conditions)
    return structs.replace(definition, graph=graph)
