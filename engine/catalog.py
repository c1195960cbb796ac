"""The node types of this process: their names, what their configs look like, and how a call is run."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import structs

from engine import bodies
from engine.checks import type_hint
from engine.configs import ConfigShape, reason_of
from engine.errors import ConfigurationError, Fault, NodeTypeNotFound, TaskError
from engine.graph import task_content
from engine.model import Outcome, Record, TaskCall
from engine.opening import opened
from engine.task_ports import NodeContext, NodeHandler, Shape


class NodeType(Record, frozen=True, omit_defaults=False):
    """What people are told of a node type. `schema` is the JSON Schema of its config, once rendered."""

    type: str
    major: int
    description: str
    aliases: tuple[str, ...]
    spellings: dict[str, str]
    blocking: bool
    schema: dict[str, Any]


class _Entry:
    """A handler and its config."""

    __slots__ = ("handler", "major", "shape", "spellings")

    def __init__(self, handler: NodeHandler) -> None:
        if missing := [name for name in ("type", "shape", "blocking", "run") if not hasattr(handler, name)]:
            where = type(handler).__module__.rpartition(".")[2]
            raise ConfigurationError(f"the handler in {where}.py has no {', '.join(missing)}; see docs/nodes.md")
        self.handler = handler
        self.major: int = getattr(handler, "major", 1)
        self.spellings: dict[str, str] = dict(getattr(handler, "spellings", {}))
        msgspec.json.Decoder(handler.shape)  # one that cannot be decoded is found at start, not at the first run
        self.shape = ConfigShape(handler.type, handler.shape, self.spellings, getattr(handler, "same", None))

    def run(self, call: TaskCall, context: NodeContext) -> Outcome | Awaitable[Outcome]:
        return self.handler.run(call, self.config(call), context)

    def rehearse(self, call: TaskCall) -> Outcome | None:
        config = self.config(call)
        rehearse = getattr(self.handler, "rehearse", None)
        outcome: Outcome | None = None if rehearse is None else rehearse(call, config)
        return outcome

    def config(self, call: TaskCall) -> msgspec.Struct:
        try:
            return msgspec.convert(call.config, self.handler.shape)
        except msgspec.ValidationError as error:
            message, place = reason_of(error)
            raise TaskError(f"config{place}: {message}", type="invalid_config", retryable=False) from None


class Catalog:
    """Handlers by type. Satisfies `engine.checks.NodeTypes`.

    A type has other names (aliases) and versions: `type@2` is the second major, `type` the newest.
    """

    def __init__(self, handlers: Iterable[NodeHandler], executors: Iterable[str]) -> None:
        self._entries: dict[str, _Entry] = {}
        self._names: dict[str, str] = {}
        for entry in sorted(map(_Entry, handlers), key=lambda entry: entry.major):
            self._add(entry)
        self._executors = tuple(executors)

    def _add(self, entry: _Entry) -> None:
        kind = entry.handler.type
        pinned = f"{kind}@{entry.major}"
        if pinned in self._entries:
            raise ConfigurationError(f"two files in nodes/ are the node type {pinned}")
        self._entries[pinned] = self._entries[kind] = entry
        for name in (kind, *getattr(entry.handler, "aliases", ())):
            if self._names.setdefault(name, kind) != kind:
                raise ConfigurationError(f"the node types {kind} and {self._names[name]} are both called {name}")

    def types(self) -> Iterable[str]:
        """Without aliases and pinned names."""
        return [name for name in self._entries if "@" not in name]

    def names(self) -> Iterable[str]:
        """Of types, aliases among them, without pinned names."""
        return [*self._names]

    def executors(self) -> Iterable[str]:
        return self._executors

    def resolve(self, type: str) -> str | None:  # noqa: A002
        """The name under which `type` is stored; None if there is no such type."""
        name, pin, major = type.partition("@")
        resolved = self._names.get(name, name) + pin + major
        return resolved if resolved in self._entries else None

    def connection_kinds(self) -> dict[str, Shape]:
        """What the settings of named servers look like, by kind."""
        return {k: shape for e in self._entries.values() for k, shape in getattr(e.handler, "connections", {}).items()}

    def describe(self, type: str) -> NodeType:  # noqa: A002
        """Raises `NodeTypeNotFound`."""
        entry = self._find(type)
        if entry is None:
            raise NodeTypeNotFound(f"there is no node type {type!r:.100}{type_hint(type, self.names())}")
        handler = entry.handler
        texts = (inspect.getdoc(one.__class__ if one is handler else one) for one in (handler, handler.shape))
        return NodeType(
            handler.type,
            entry.major,
            "\n\n".join(text for text in texts if text),
            tuple(getattr(handler, "aliases", ())),
            entry.spellings,
            handler.blocking,
            entry.shape.schema(),
        )

    def is_blocking(self, type: str) -> bool:  # noqa: A002
        """Whether the handler of `type` must run in a thread; False for a type that this process does not have."""
        entry = self._find(type)
        return entry is not None and entry.handler.blocking

    def canonical(self, type: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:  # noqa: A002
        """A type and its config as they are stored: the same for every spelling. An unknown type stays as it is."""
        entry = self._find(type)
        if entry is None:
            return type, dict(config)
        kind, config = self.resolve(type) or type, entry.shape.canonical(config)
        body = bodies.body_of("", config) if bodies.kind_of(kind) else None
        if body is not None:
            inner, of_inner = self.canonical(body.type, body.config)
            content = task_content(structs.replace(body, type=inner, config=of_inner, on_error="fail"))
            config = {**config, bodies.BODY: {**content, "type": inner}}
        return kind, config

    def conditions(self, type: str, config: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: A002
        """Pointers to the conditions in a config, as it was written: they are evaluated when it is rendered."""
        entry = self._find(type)
        if entry is None:
            return ()
        places = entry.shape.conditions(config)
        body = bodies.body_of("", config) if bodies.kind_of(entry.handler.type) else None
        if body is not None:
            prefix = f"/{bodies.BODY}/config"
            places += tuple(prefix + place for place in self.conditions(body.type, body.config))
        return places

    def public(self, type: str, config: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: A002
        """A config, as it was written, without what stands in fields that may have secrets."""
        entry = self._find(type)
        return entry.shape.public(config) if entry is not None else config

    def config_faults(self, type: str, config: Mapping[str, Any], where: str) -> list[Fault]:  # noqa: A002
        """What is wrong with a config before it is rendered; values with templates are left to the run.

        Of what it runs many times the config is not looked at: that is a task of its own.
        """
        entry = self._find(type)
        return entry.shape.faults(config, where) if entry is not None else []

    def part_faults(self, type: str, config: Mapping[str, Any], where: str) -> list[Fault]:  # noqa: A002
        """The same of a part of a config: fields may be missing."""
        entry = self._find(type)
        return entry.shape.faults(config, where, whole=False) if entry is not None else []

    def run(self, call: TaskCall, beat: Callable[[], None], context: NodeContext) -> Outcome | Awaitable[Outcome]:
        """One attempt. Raises `TaskError` when the rendered config does not fit."""
        entry = self._find(call.type)
        if entry is None:
            raise TaskError(f"this process has no node type {call.type!r}", type="unknown_node_type", retryable=False)
        if call.secrets:
            return opened(call, context.beating(beat), entry.run, blocking=entry.handler.blocking)
        return entry.run(call, context.beating(beat))

    def rehearse(self, call: TaskCall) -> Outcome | None:
        """What it comes to, without any effect; None: that is seen only when it is really done.

        Raises `TaskError` when the rendered config does not fit.
        """
        entry = self._find(call.type)
        return None if entry is None else entry.rehearse(call)

    def check(self, call: TaskCall) -> None:
        """Raises `TaskError` when the rendered config does not fit."""
        entry = self._find(call.type)
        if entry is not None:
            entry.config(call)

    def has_effects(self, type: str) -> bool:  # noqa: A002
        """Whether it does more than its outcome says."""
        entry = self._find(type)
        return entry is not None and not hasattr(entry.handler, "rehearse")

    def _find(self, type: str) -> _Entry | None:  # noqa: A002
        return self._entries.get(type) or self._entries.get(self.resolve(type) or "")
