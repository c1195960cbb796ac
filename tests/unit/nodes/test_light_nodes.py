"""The nodes that do their work at once: noop, set, start, transform, delay, fail."""

from typing import Any

import pytest

from engine import limits
from engine.graph import canonical
from engine.model import Completed, Graph, Sleep, Task
from tests.unit.nodes.harness import CATALOG, HANDLERS, failure, faults, run


def test_the_room_holds_what_was_promised() -> None:
    assert {"noop", "set", "delay", "http_request"} <= set(CATALOG.types())
    assert all(handler.shape.__struct_fields__ is not None for handler in HANDLERS)


# --- noop and set ---


@pytest.mark.parametrize("config", [{}, {"x": [1, {"y": None}]}, {"duration": 0, "x": 1}, {"duration": 0.001, "x": 1}])
async def test_noop_returns_its_parameters(config: dict[str, Any]) -> None:
    assert await run("noop", config) == Completed(config)


@pytest.mark.parametrize("duration", [-1, "1", True, None, [], 1e12])
async def test_noop_refuses_a_bad_duration_at_save_and_at_run(duration: Any) -> None:
    assert faults("noop", {"duration": duration}) == ["/config/duration"]
    error = await failure("noop", {"duration": duration})
    assert (error.type, error.retryable) == ("invalid_config", False)


def test_a_template_is_left_to_the_run() -> None:
    assert faults("noop", {"duration": "{{input.seconds}}"}) == []


async def test_set_names_values() -> None:
    config = {"a": [1], "b": {"c": None}, "duration": "any"}
    assert await run("set", config) == Completed(config)
    assert faults("set", config) == []


# --- delay ---


@pytest.mark.parametrize(
    ("config", "outcome"),
    [
        ({"duration_seconds": 2}, Sleep(2.0)),
        ({"duration_seconds": 0}, Sleep(0.0)),
        ({"ms": 1500}, Sleep(1.5)),
        ({"ms": 0}, Sleep(0.0)),
        ({"until": "2026-11-21T00:00:00Z"}, Sleep(until=1_795_219_200.0)),
        ({"until": "2026-11-21T01:00:00+01:00"}, Sleep(until=1_795_219_200.0)),
        ({"duration_seconds": 2, "ms": None}, Sleep(2.0)),
    ],
)
async def test_delay_sleeps(config: dict[str, Any], outcome: Sleep) -> None:
    assert await run("delay", config) == outcome


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"duration_seconds": 1, "ms": 1},
        {"duration_seconds": 1, "until": "2026-11-21T00:00:00Z"},
        {"until": "tomorrow"},
        {"until": "2026-11-21T00:00:00"},
        {"until": 5},
        {"ms": -1},
        {"duration_seconds": limits.DURATION + 1},
        {"seconds": 1},
    ],
)
async def test_delay_refuses_anything_else(config: dict[str, Any]) -> None:
    error = await failure("delay", config)
    assert (error.type, error.retryable) == ("invalid_config", False)


def test_delay_tells_at_save_what_it_can() -> None:
    assert faults("delay", {"seconds": 1}) == ["/config/seconds"]
    assert faults("delay", {"ms": "1"}) == ["/config/ms"]


def test_delay_tells_at_save_that_it_has_none_or_two() -> None:
    assert faults("delay", {}) == ["/config"]
    assert faults("delay", {"ms": 1, "until": "2026-11-21T00:00:00Z"}) == ["/config"]
    assert faults("delay", {"until": "tomorrow"}) == ["/config/until"]
    assert faults("delay", {"ms": "{{input.a}}", "until": "tomorrow"}) == []
    told = [CATALOG.config_faults("delay", config, "/config")[0].message for config in ({}, {"until": "tomorrow"})]
    assert told[0] == "a delay has exactly one of duration_seconds, ms, until"
    assert told[1].startswith("until: ")


# --- start, transform, fail ---


async def test_start_passes_on() -> None:
    assert await run("start", {}) == Completed({})


@pytest.mark.parametrize("mapping", [{"a": [1]}, [1], "text", None, 0])
async def test_transform_is_its_mapping(mapping: Any) -> None:
    assert await run("transform", {"mapping": mapping}) == Completed(mapping)


def test_transform_tells_its_faults_at_save() -> None:
    assert faults("transform", {}) == ["/config/mapping"]
    assert faults("transform", {"mapping": 1, "output": 2}) == ["/config/output"]
    assert CATALOG.canonical("transform", {"output": 1}) == ("transform", {"mapping": 1})


async def test_fail_fails_as_it_is_told() -> None:
    error = await failure("fail", {"message": "no stock", "error_type": "stock", "retryable": True})
    assert (error.message, error.type, error.retryable) == ("no stock", "stock", True)
    error = await failure("fail", {})
    assert (error.type, error.retryable) == ("failed", False)
    assert faults("fail", {"errorType": ""}) == ["/config/errorType"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"ms": 1500}, {"duration_seconds": 1.5}),
        ({"ms": 15_000}, {"durationSeconds": 15}),
        ({"ms": 0}, {"duration_seconds": 0.0}),
        ({"ms": 100, "until": None}, {"duration_seconds": 0.1}),
        ({"until": "2026-11-21T01:00:00+01:00"}, {"until": "2026-11-21T00:00:00Z"}),
    ],
)
def test_the_same_delay_is_stored_alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    graphs = [Graph((Task("a", *CATALOG.canonical("delay", config)),)) for config in (one, other)]
    assert canonical(graphs[0]) == canonical(graphs[1])


@pytest.mark.parametrize(
    "config",
    [
        {"ms": "{{input.ms}}"},
        {"ms": True},
        {"until": "{{input.then}}"},
        {"until": "soon"},
        {"ms": 1, "duration_seconds": 1},
    ],
)
def test_what_is_not_known_or_wrong_stays_as_it_is(config: dict[str, Any]) -> None:
    assert CATALOG.canonical("delay", config) == ("delay", config)
