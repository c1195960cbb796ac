"""`publish_event` and `wait_for_event`: what they answer, and which configs they refuse."""

from typing import Any

import pytest

from engine.model import Answer, AwaitSignal, Completed, Failure, Publication
from tests.unit.nodes.harness import CATALOG, failure, faults, run


async def test_an_event_is_published_under_a_key() -> None:
    assert await run("publish_event", {"event": "lead.won", "data": [1]}) == Completed(
        {"event": "lead.won", "key": "@execution:7/a/"}, None, (Publication("lead.won", [1], "@execution:7/a/"),)
    )
    outcome = await run("emit", {"event": "a", "idempotencyKey": "mine"})
    assert isinstance(outcome, Completed)
    assert outcome.publish == (Publication("a", None, "mine"),)


async def test_a_wait_asks_for_an_event() -> None:
    outcome = await run("wait_for_event", {"event": "paid", "filter": {"rule": {"var": "a"}, "values": [1]}})
    assert isinstance(outcome, AwaitSignal)
    ask = outcome.ask
    assert ask is not None
    assert (ask.kind, ask.topic, ask.lookback, outcome.timeout) == ("event", "paid", None, None)
    assert ask.details == {"event": "paid", "filter": {"rule": {"var": "a"}, "values": [1]}}
    late = Failure("timeout", "no event paid for which the filter holds came in 5 s")
    more = {"lookback_seconds": 60, "timeoutSeconds": 5}
    for config, otherwise in (
        ({}, Answer(None, "timeout", late)),
        ({"on_timeout": "continue", "timeout_label": "late"}, Answer(None, "late")),
    ):
        outcome = await run("wait_for_event", {"event": "paid", **more, **config})
        assert isinstance(outcome, AwaitSignal)
        assert (outcome.timeout, outcome.otherwise) == (5, otherwise)
        assert outcome.ask is not None
        assert outcome.ask.lookback == 60


@pytest.mark.parametrize(
    ("kind", "config", "pointers"),
    [
        ("publish_event", {}, ["/config/event"]),
        ("publish_event", {"event": 5}, ["/config/event"]),
        ("publish_event", {"event": "a", "key": ""}, ["/config/key"]),
        ("publish_event", {"event": "a b", "key": "@x", "payload": "{{input.a}}"}, ["/config/event", "/config/key"]),
        ("publish_event", {"event": "a", "to": 1}, ["/config/to"]),
        ("wait_for_event", {}, ["/config/event"]),
        ("wait_for_event", {"event": "a", "lookback": 0}, ["/config/lookback"]),
        ("wait_for_event", {"event": "a", "timeout": "1"}, ["/config/timeout"]),
        ("wait_for_event", {"event": "a", "on_timeout": "x"}, ["/config/on_timeout"]),
        ("wait_for_event", {"event": "*"}, ["/config/event"]),
        ("wait_for_event", {"eventType": "*", "timeout": "{{input.t}}"}, ["/config/eventType"]),
    ],
)
def test_configs_that_are_refused(kind: str, config: dict[str, Any], pointers: list[str]) -> None:
    assert faults(kind, config) == pointers


async def test_a_filter_has_a_bound() -> None:
    config = {"event": "a", "filter": {"rule": True, "values": ["x" * 70_000]}}
    assert (await failure("wait_for_event", config)).type == "filter_too_large"


def test_a_filter_is_known_as_a_rule() -> None:
    assert CATALOG.conditions("wait_for_event", {"event": "a", "condition": {"var": "x"}}) == ("rule:/condition",)
    schema = CATALOG.describe("wait_for_event").schema
    assert schema["$defs"]["Config"]["properties"]["filter"]["type"] == ["boolean", "object"]
