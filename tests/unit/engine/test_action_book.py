"""What a task that refers to an action means."""

from typing import Any, ClassVar

import msgspec
import pytest

from engine import registry
from engine.action_book import merged, named_in, resolved
from engine.actions import NewAction
from engine.catalog import Catalog
from engine.dialect_ports import Definition
from engine.model import Graph, Presentation, Task


class Open(msgspec.Struct):
    """Any config."""


class Map:
    """Stands for one if there is none."""

    type: ClassVar[str] = "map"
    shape: ClassVar[Any] = Open
    blocking: ClassVar[bool] = False

    def run(self, call: Any, config: Any, context: Any) -> Any:
        raise NotImplementedError


HANDLERS = registry.scan("nodes", "handler")
NODES = Catalog([*HANDLERS, *([] if any(h.type == "map" for h in HANDLERS) else [Map()])], ["asyncio"])
ACTIONS = {
    "call": NewAction("call", "http_call", {"url": "https://example.com/", "headers": {"a": "1", "b": "2"}}),
    "wait": NewAction("wait", "delay", {"ms": 1000}),
    "each": NewAction("each", "map", {"items": [1], "task": {"type": "action", "config": {"action": "call"}}}),
}


def task(config: dict[str, Any], kind: str = "action") -> Task:
    return Task("a", kind, config)


def meant(config: dict[str, Any], kind: str = "action") -> tuple[str, dict[str, Any]]:
    definition = Definition(Graph((task(config, kind),)), Presentation())
    (found,) = resolved(definition, ACTIONS, NODES).graph.tasks
    return found.type, found.config


@pytest.mark.parametrize(
    ("config", "own", "whole"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"x": 1}}, {"a": 5}, {"a": 5}),
        ({"a": 5}, {"a": {"x": 1}}, {"a": {"x": 1}}),
    ],
)
def test_the_tasks_own_config_goes_first(config: dict[str, Any], own: dict[str, Any], whole: dict[str, Any]) -> None:
    before = msgspec.json.encode(config)
    assert merged(config, own) == whole
    assert msgspec.json.encode(config) == before


def test_types_and_fields_are_under_their_own_names_before_they_are_merged() -> None:
    own = {"payload": {"x": 1}, "headers": {"b": "3"}}
    config = {"url": "https://example.com/", "headers": {"a": "1", "b": "3"}, "body": {"x": 1}}
    assert meant({"action": "call", "config": own}) == ("http_request", config)
    assert meant({"action": "wait", "config": {"durationSeconds": 5}}) == ("delay", {"duration_seconds": 5})


@pytest.mark.parametrize(
    "config",
    [{"action": "none"}, {"action": 1}, {}, {"action": "call", "more": 1}, {"action": "call", "config": []}],
)
def test_what_is_unknown_or_wrong_stays(config: dict[str, Any]) -> None:
    assert meant(config) == ("action", config)


def test_what_is_run_many_times_may_refer_to_one() -> None:
    body = {"type": "action", "config": {"action": "wait"}, "retry": {"max_attempts": 2}}
    config = {"items": [1], "task": body}
    stands = {**body, "type": "delay", "config": {"duration_seconds": 1.0}}
    assert meant(config, "map") == ("map", {"items": [1], "task": stands})
    assert (
        meant({"items": [1], "task": {"type": "map", "config": config}}, "map")[1]["task"]["config"]["task"] == stands
    )
    assert named_in(Graph((task(config, "map"),))) == ("wait",)


@pytest.mark.parametrize(
    ("kind", "config"), [("set", {"task": {"type": "action", "config": {"action": "wait"}}}), ("map", {"task": 1})]
)
def test_what_only_looks_like_a_reference_is_data(kind: str, config: dict[str, Any]) -> None:
    assert meant(config, kind) == (kind, config)
    assert named_in(Graph((task(config, kind),))) == ()


def test_what_an_action_brings_is_taken_as_it_is() -> None:
    """So that two that name each other end."""
    kind, config = meant({"action": "each"})
    assert (kind, config["task"]) == ("map", {"type": "action", "config": {"action": "call"}})
