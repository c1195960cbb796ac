"""A graph compiled for planning, and its digest; the check of its meaning is in `engine.checks`.

Nothing above the dialects knows how a graph was written; this module knows nothing of dialects.
"""

import difflib
import hashlib
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from engine import bodies
from engine.compensation import NAMES, CompensationConfig, compensation
from engine.dialect_ports import Definition
from engine.documents import canonical_json
from engine.expressions.templates import Template, compile_condition, compile_template
from engine.model import Compensation, Edge, Graph, Presentation, Record, Resources, RetryPolicy, Task
from engine.ports import Compiled
from engine.rendering import ConfigTemplate, compile_config

ERROR_LABEL = "@error"
"""The label of an edge that is taken only when its source failed for good and `on_error` names the target."""

END = ""
"""The target of an edge that leads to nothing, on purpose."""

BRANCH = frozenset({"branch", "switch"})
CONDITIONAL = frozenset({"conditional", "condition", "if"})
"""Types whose configs may name the tasks that they lead to; each dialect makes edges of that."""

TASK_KEY = re.compile(r"[A-Za-z0-9_-]+")
"""The key of a task: a segment of a template's path."""

HINTS = 20
"""Faults of one kind that get a suggestion; looking for one among many tasks takes milliseconds."""
CHOICES = 1_000
"""Names among which a suggestion is looked for."""


class Vertex:
    """A task with all that planning and starting it needs, computed once.

    `labels` are those of its edges, the engine's own apart. `missing` are targets that do not exist, by label.
    `inner` is what it runs many times, if it does; the vertex in there has a `depth` of one more, and no edges.
    `compensates` is the key of the task that it undoes: then it is no task of the graph, and its index no task's.
    """

    __slots__ = (
        "compensates",
        "concurrency_key",
        "config",
        "depth",
        "index",
        "inner",
        "key",
        "labels",
        "limited",
        "missing",
        "out",
        "task",
        "when",
    )

    def __init__(
        self,
        index: int,
        task: Task,
        out: tuple[tuple[str | None, int], ...],
        conditions: Iterable[str] = (),
        elsewhere: Iterable[Edge] = (),
        *,
        bounded: bool,
        names: tuple[str, ...] = (),
        compensates: str | None = None,
    ) -> None:
        self.index = index
        self.depth = 0
        self.compensates = compensates
        self.key = task.key
        self.task = task
        self.out = out
        self.missing = {edge.label: edge.target for edge in elsewhere if edge.target != END}
        labels = [*(label for label, _ in out), *(edge.label for edge in elsewhere)]
        self.labels = frozenset(label for label in labels if label is not None and label != ERROR_LABEL)
        config = compile_config(task.config, conditions, names=names, apart=bodies.apart(task.type))[0]
        self.config: Template | ConfigTemplate | CompensationConfig = config
        if compensates is not None:
            self.config = CompensationConfig(config)
        self.when: Template | None = None if task.when is True else compile_condition(task.when)[0]
        shared = task.concurrency_key
        self.concurrency_key: Template | None = None if shared is None else compile_template(shared, names=names)[0]
        self.limited = bounded or shared is not None
        """Whether it needs slots of pools to start."""
        body = bodies.body_of(task.key, task.config) if bodies.kind_of(task.type) else None
        self.inner = None if body is None else Inner(self, body, bodies.inside(conditions), names, bounded=bounded)


class Inner:
    """What a map or loop runs. `guard` is asked between rounds, which go on until it holds, or else while it does."""

    __slots__ = ("guard", "kind", "until", "vertex")

    def __init__(
        self, outer: Vertex, body: Task, conditions: Iterable[str], names: tuple[str, ...], *, bounded: bool
    ) -> None:
        self.kind = bodies.kind_of(outer.task.type) or ""
        names = (*names, *bodies.KINDS[self.kind].names)
        self.vertex = Vertex(outer.index, body, (), conditions, bounded=bounded, names=names)
        self.vertex.depth = outer.depth + 1
        config = outer.task.config
        self.until = config.get("until") is not None
        self.guard: Template | None = None
        if self.kind == bodies.LOOP:
            self.guard = compile_condition(config["until" if self.until else "while"], names=names)[0]


class Vertices(dict[str, Vertex]):
    """By key. The address of an item or a round finds what is run for all of them."""

    def __missing__(self, address: str) -> Vertex:
        outer = bodies.outer_of(address)
        inner = self[outer].inner if outer else None
        if inner is None:
            raise KeyError(address)
        return inner.vertex


class CompiledGraph:
    """Vertices by index and key, incoming edges counted: what one completion costs depends on its neighbours only."""

    __slots__ = (
        "budget",
        "by_key",
        "display_order",
        "hurried",
        "indegree",
        "limited",
        "max_concurrency",
        "presentation",
        "roots",
        "sinks",
        "timeout",
        "vertices",
    )

    def __init__(self, graph: Graph, presentation: Presentation) -> None:
        index = {task.key: i for i, task in enumerate(graph.tasks)}
        out: list[list[tuple[str | None, int]]] = [[] for _ in graph.tasks]
        elsewhere: dict[str, list[Edge]] = {}
        self.indegree = [0] * len(graph.tasks)
        for edge in graph.edges:
            if edge.target not in index:
                elsewhere.setdefault(edge.source, []).append(edge)
                continue
            out[index[edge.source]].append((edge.label, index[edge.target]))
            self.indegree[index[edge.target]] += 1
        place = {key: i for i, key in enumerate(presentation.order)}
        places = [place.get(task.key, len(place)) for task in graph.tasks]
        for targets in out:
            targets.sort(key=lambda edge: places[edge[1]])
        self.max_concurrency, self.budget = graph.max_concurrency, graph.budget
        self.timeout = graph.timeout
        bounded = graph.max_concurrency is not None
        self.vertices = tuple(
            Vertex(
                i,
                task,
                tuple(out[i]),
                graph.conditions.get(task.key, ()),
                elsewhere.get(task.key, ()),
                bounded=bounded,
            )
            for i, task in enumerate(graph.tasks)
        )
        self.hurried = any(task.total_timeout is not None for task in graph.tasks)
        """Whether any task has a total_timeout."""
        self.limited = any(map(_is_limited, self.vertices))
        self.by_key = Vertices({vertex.key: vertex for vertex in self.vertices})
        """Tasks, and compensations by their addresses."""
        for task in graph.tasks:
            if (undo := compensation(task)) is not None:
                conditions = graph.conditions.get(undo.key, ())
                self.by_key[undo.key] = Vertex(
                    -1, undo, (), conditions, bounded=bounded, names=NAMES, compensates=task.key
                )
        order = sorted(self.vertices, key=lambda v: places[v.index])
        self.presentation = presentation
        self.display_order = tuple(v.key for v in order)
        self.roots = tuple(v.index for v in order if not self.indegree[v.index])
        self.sinks = tuple(v.key for v in order if not any(label != ERROR_LABEL for label, _ in v.out))


def _is_limited(vertex: Vertex) -> bool:
    return vertex.limited or (vertex.inner is not None and _is_limited(vertex.inner.vertex))


def canonical(graph: Graph) -> bytes:
    """The canonical JSON: defaults omitted, tasks by key, edges sorted and without repetition, format inside."""
    edges = sorted(set(graph.edges), key=lambda edge: (edge.source, edge.target, edge.label is not None, edge.label))
    content: dict[str, Any] = {"format": graph.format}
    if graph.max_concurrency is not None:
        content["max_concurrency"] = graph.max_concurrency
    if graph.timeout is not None:
        content["timeout"] = graph.timeout
    content |= {} if graph.budget is None else {"budget": msgspec.to_builtins(graph.budget)}
    if graph.conditions:
        content["conditions"] = {key: sorted(places) for key, places in graph.conditions.items()}
    if graph.tasks:
        content["tasks"] = [task_content(task) for task in sorted(graph.tasks, key=lambda task: task.key)]
    if edges:
        content["edges"] = [_content(edge, _EDGE) for edge in edges]
    return canonical_json(content)


_TASK, _RETRY, _RESOURCES, _EDGE, _UNDO = Task(""), RetryPolicy(), Resources(), Edge("", ""), Compensation("")


def task_content(task: Task) -> dict[str, Any]:
    """The fields that are not the default."""
    content = _work_content(task, _TASK)
    if task.compensate is not None:
        content["compensate"] = _work_content(task.compensate, _UNDO)
    return content


def _work_content(record: Task | Compensation, default: Record) -> dict[str, Any]:
    content = _content(record, default)
    if "retry" in content:
        content["retry"] = _content(record.retry, _RETRY)
    if "resources" in content:
        content["resources"] = _content(record.resources, _RESOURCES)
    return content


def _content(record: Record, default: Record) -> dict[str, Any]:
    """Defaults are told by value: msgspec's `omit_defaults` asks for identity, which differs from place to place."""
    given = {name: getattr(record, name) for name in record.__struct_fields__}
    return {name: value for name, value in given.items() if value != getattr(default, name)}


def compile_definition(definition: Definition) -> Compiled:
    """What is stored of a definition: its canonical graph, digest and presentation."""
    data = canonical(definition.graph)
    return Compiled(hashlib.sha256(data).hexdigest(), data, msgspec.json.encode(definition.presentation))


_decode_graph = msgspec.json.Decoder(Graph).decode
_decode_presentation = msgspec.json.Decoder(Presentation).decode


def load(graph: bytes, presentation: bytes) -> CompiledGraph:
    """The compiled form of a stored version."""
    return CompiledGraph(_decode_graph(graph), _decode_presentation(presentation))


def suggestion(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?`, or the list of what there is."""
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, 1) if len(choices) <= CHOICES else []
    if close:
        return f", did you mean {close[0]!r}?"
    return f"; there are: {', '.join(choices)}" if 0 < len(choices) <= 20 else ""


def ancestors_of(graph: Graph) -> dict[str, int]:
    """Per task the set of its ancestors as bits by index; the graph has no cycle."""
    place = {task.key: i for i, task in enumerate(graph.tasks)}
    ancestors = dict.fromkeys(place, 0)
    successors = _successors(graph)
    for key in _topological(graph):
        mine = ancestors[key] | 1 << place[key]
        for target in successors[key]:
            ancestors[target] |= mine
    return ancestors


def _successors(graph: Graph) -> dict[str, list[str]]:
    successors: dict[str, list[str]] = {task.key: [] for task in graph.tasks}
    for edge in graph.edges:
        if edge.target in successors:
            successors[edge.source].append(edge.target)
    return successors


def _topological(graph: Graph) -> list[str]:
    """Keys in an order where sources come first; those on or behind a cycle are left out."""
    indegree = {task.key: 0 for task in graph.tasks}
    for edge in graph.edges:
        if edge.target in indegree:
            indegree[edge.target] += 1
    successors = _successors(graph)
    order = [key for key, count in indegree.items() if not count]
    for key in order:
        for target in successors[key]:
            indegree[target] -= 1
            if not indegree[target]:
                order.append(target)
    return order


def find_cycle(graph: Graph) -> list[str]:
    """The keys of one cycle, the first repeated at the end; empty if there is none."""
    rest = {task.key for task in graph.tasks}.difference(_topological(graph))
    if not rest:
        return []
    before = {edge.target: edge.source for edge in graph.edges if edge.source in rest and edge.target in rest}
    key = next(k for k in sorted(rest) if k in before)
    seen: dict[str, int] = {}
    while key not in seen:
        seen[key] = len(seen)
        key = before[key]
    cycle = [k for k, i in seen.items() if i >= seen[key]]
    return [key, *reversed(cycle[1:]), key]
