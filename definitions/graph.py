"""*Graph*: nodes and edges, as graph editors save them; positions and whatever else they keep are left as they are.

A node's config is its `config` or its `data` (in which React Flow keeps the name as `label`, and perhaps a `config`).
An edge counts for one outcome when it has a `label`, or a `sourceHandle` that is an outcome of its source.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from definitions._builder import ACTION, OPTIONS, Builder, document_of, in_order, written_head, written_options
from definitions._ways import Way, read_ways
from engine.dialect_ports import Definition, Head
from engine.documents import pointer
from engine.graph import END, ERROR_LABEL
from engine.model import Edge, Graph, Presentation, Workflow

_EDITOR = ("version", "nodes", "edges", "viewport", "metadata")
COLUMN, ROW = 250, 100
"""Pixels between nodes that get a position from us."""


class Nodes:
    """Told by its `nodes`."""

    name: ClassVar[str] = "graph"
    field: ClassVar[str] = "nodes"

    def parse(self, draft: Workflow) -> Definition:
        return self.read(document_of(draft))[1]

    def read(self, document: Mapping[str, Any]) -> tuple[Head, Definition]:
        builder = Builder(document)
        head = builder.head(_EDITOR)
        nodes: list[Any] = builder.value(document, "nodes", "", list[Any], [])
        edges: list[Any] = builder.value(document, "edges", "", list[Any], [])
        drawn = _Drawn(nodes, edges)
        for index, node in enumerate(nodes):
            if isinstance(node, dict):
                _read_node(builder, node, drawn, pointer("nodes", index))
            else:
                builder.fault("a node is an object", pointer("nodes", index))
        for index, edge in enumerate(edges):
            if isinstance(edge, dict):
                _read_edge(builder, edge, drawn, pointer("edges", index))
            else:
                builder.fault("an edge is an object", pointer("edges", index))
        return head, builder.build(config_field="config")

    def write(self, head: Head, graph: Graph, presentation: Presentation) -> dict[str, Any]:
        places = _layout(graph)
        nodes = [
            {
                "id": task.key,
                "type": task.type,
                "position": places[task.key],
                **written_options(task, presentation),
                "config": task.config,
            }
            for task in in_order(graph, presentation)
        ]
        edges = [_written_edge(edge, index) for index, edge in enumerate(graph.edges) if edge.label != ERROR_LABEL]
        return {**written_head(head), "nodes": nodes, "edges": edges}


class _Drawn:
    """What a branch may mean by a target: a node, an edge by its id, or an edge of its own by its label."""

    def __init__(self, nodes: list[Any], edges: list[Any]) -> None:
        whole = [edge for edge in edges if isinstance(edge, dict)]
        self._nodes = {str(node.get("id")) for node in nodes if isinstance(node, dict)}
        self._targets = {
            str(edge["id"]): str(edge["target"] or END) for edge in whole if edge.keys() >= {"id", "target"}
        }
        self._labelled = {(str(edge.get("source")), str(edge["label"])) for edge in whole if edge.get("label")}
        self.labels: dict[tuple[str, str], str] = {}
        """What an edge is called there, to the label of the outcome; by source."""

    def way(self, source: str, way: Way) -> Way:
        target = way.target
        if target is None or target in self._nodes:
            return way
        if target in self._targets:
            return Way(way.label, self._targets[target], way.where)
        if (source, target) in self._labelled:
            self.labels[source, target] = way.label
            return Way(way.label, None, way.where)
        return way


def _written_edge(edge: Edge, index: int) -> dict[str, Any]:
    shown = {"id": f"e{index + 1}", "source": edge.source, "target": edge.target or None}
    return shown if edge.label is None else {**shown, "label": edge.label}


def _read_node(builder: Builder, node: dict[str, Any], drawn: _Drawn, where: str) -> None:
    key = builder.value(node, "id", where, str | int | None, None)
    if key is None:
        builder.fault("a node needs an id", f"{where}/id", "required")
        return
    key = str(key)
    data = builder.mapping(node, "data", where)
    config, place = _config(builder, node, data, where)
    kind = builder.value(node, "type", where, str, "noop")
    config, ways = read_ways(kind, config)
    known = key in builder.tasks
    options = {name: node[name] for name in OPTIONS if name in node}
    if "name" not in options and isinstance(data.get("label"), str):
        options["name"] = data["label"]
    builder.add(key, kind, config, options, where)
    if not known and key in builder.tasks:
        builder.configs[key] = place
        builder.ways(key, [drawn.way(key, way) for way in ways], place)


def _config(builder: Builder, node: dict[str, Any], data: dict[str, Any], where: str) -> tuple[dict[str, Any], str]:
    """And its pointer."""
    if "config" in node:
        return builder.mapping(node, "config", where), f"{where}/config"
    refers = node.get("type") == ACTION and "action" in data
    if isinstance(data.get("config"), dict) and not refers:
        return data["config"], f"{where}/data/config"
    return {name: value for name, value in data.items() if name != "label"}, f"{where}/data"


def _read_edge(builder: Builder, edge: dict[str, Any], drawn: _Drawn, where: str) -> None:
    source = builder.value(edge, "source", where, str | int | None, None)
    target = builder.value(edge, "target", where, str | int | None, None)
    label = builder.value(edge, "label", where, str | None, None) or None
    handle = edge.get("sourceHandle")
    if source is None:
        builder.fault("an edge needs a source", f"{where}/source", "required")
        return
    if str(source) not in builder.tasks:
        hint = builder.hint(str(source), builder.tasks)
        message = f"an edge comes from the node {source!r:.100}, which does not exist{hint}"
        builder.fault(message, f"{where}/source", "unknown_task")
        return
    if handle in builder.labels(str(source)):
        label = handle
    if label is not None:
        label = drawn.labels.get((str(source), label), label)
    if target is None and label is None:
        builder.fault("an edge needs a target", f"{where}/target", "required")
        return
    builder.follow(str(source), END if target is None else str(target), label, f"{where}/target")


def _layout(graph: Graph) -> dict[str, dict[str, int]]:
    """From left to right by the longest way from a root; a graph with a cycle keeps what it has."""
    column = {task.key: 0 for task in graph.tasks}
    after: dict[str, list[str]] = {key: [] for key in column}
    waiting = dict.fromkeys(column, 0)
    for edge in graph.edges:
        if edge.target in column:
            after[edge.source].append(edge.target)
            waiting[edge.target] += 1
    todo = [key for key, count in waiting.items() if not count]
    for key in todo:
        for target in after[key]:
            column[target] = max(column[target], column[key] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                todo.append(target)
    rows: dict[int, int] = {}
    places = {}
    for key, x in column.items():
        rows[x] = rows.get(x, -1) + 1
        places[key] = {"x": x * COLUMN, "y": rows[x] * ROW}
    return places


dialect = Nodes()
