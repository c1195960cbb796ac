"""Words for tests of dialects whose drafts are documents."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from engine import registry
from engine.authoring import Authoring, Report
from engine.dialect_ports import Definition, DocumentDialect, Head
from engine.errors import Fault
from engine.model import Graph
from engine.sources import Source

ALIASES = {"http_call": "http_request", "http": "http_request", "pause": "delay"}
TYPES = (
    "action",
    "branch",
    "code",
    "conditional",
    "delay",
    "http_request",
    "llm",
    "noop",
    "send_notification",
    "set",
    "start",
)


class Nodes:
    """Every type of the documents; a config must not hold `bad`."""

    def config_faults(self, type: str, config: Mapping[str, Any], pointer: str) -> list[Fault]:  # noqa: A002
        return [Fault("no bad", f"{pointer}/bad", "invalid_config")] if "bad" in config else []

    def names(self) -> Iterable[str]:
        return TYPES

    def resolve(self, type: str) -> str | None:  # noqa: A002
        kind = ALIASES.get(type, type)
        return kind if kind in TYPES else None

    def canonical(self, type: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:  # noqa: A002
        return ALIASES.get(type, type), dict(config)

    def conditions(self, type: str, config: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: A002
        return ()

    def public(self, type: str, config: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: A002
        return config

    def executors(self) -> Iterable[str]:
        return ("asyncio", "rq")


AUTHORING = Authoring(registry.scan("definitions", "dialect"), Nodes())
DIALECTS: dict[str, DocumentDialect] = {
    name: registry.load("definitions", name, "dialect") for name in ("graph", "steps", "yaml_tasks")
}


def inspect(document: Any) -> Report:
    """Of a document, or of text."""
    return AUTHORING.inspect(Source(document.encode() if isinstance(document, str) else json.dumps(document).encode()))


def read(name: str, document: Mapping[str, Any]) -> tuple[Head, Definition]:
    return DIALECTS[name].read(document)


def graph(document: Mapping[str, Any]) -> Graph:
    """Of a document without faults."""
    name = AUTHORING.recognise(document)
    assert name is not None
    _, definition = read(name, document)
    assert definition.faults == ()
    return definition.graph


def edges(document: Mapping[str, Any]) -> set[str]:
    """Such as `a>b` and `a-yes>b`; `a>` leads to the end."""
    return {f"{e.source}{'' if e.label is None else '-' + e.label}>{e.target}" for e in graph(document).edges}


def faults(document: Any) -> list[tuple[str, str]]:
    return [(fault.code, fault.pointer) for fault in inspect(document).faults]


def warnings(document: Any) -> list[tuple[str, str]]:
    return [(fault.code, fault.pointer) for fault in inspect(document).warnings]


def digest(document: Any) -> str:
    """Of a document that must be acceptable."""
    report = inspect(document)
    assert report.faults == (), report.faults
    assert report.digest is not None
    return report.digest
