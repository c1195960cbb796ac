"""The nodes of the first release, run as the engine runs them: through the catalog, with a rendered config."""

import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest

from egress.client import HttpClient
from engine import limits, registry
from engine.catalog import Catalog
from engine.errors import TaskError
from engine.model import Completed, Outcome, Sleep, TaskCall
from engine.task_ports import NodeContext, NodeHandler
from tests.unit.egress.web import Site, raw, site

HANDLERS: list[NodeHandler] = registry.scan("nodes", "handler")
CATALOG = Catalog(HANDLERS, ["asyncio"])


@pytest.fixture
async def context() -> AsyncIterator[NodeContext]:
    async with HttpClient(allow_private=True) as client:
        yield NodeContext(client, None)


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site() as here:
        yield here


async def run(kind: str, config: dict[str, Any], context: NodeContext | None = None) -> Outcome:
    call = TaskCall(7, "a", kind, config, idempotency_key="7/a/")
    outcome = CATALOG.run(call, lambda: None, context or NodeContext(None, None))
    if inspect.isawaitable(outcome):
        return await outcome
    assert isinstance(outcome, Completed | Sleep)
    return outcome


async def failure(kind: str, config: dict[str, Any], context: NodeContext | None = None) -> TaskError:
    with pytest.raises(TaskError) as caught:
        await run(kind, config, context)
    return caught.value


def faults(kind: str, config: dict[str, Any]) -> list[str]:
    return [fault.pointer for fault in CATALOG.config_faults(kind, config, "/config")]


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


# --- http_request ---


async def test_http_request_sends_json_and_the_idempotency_key(context: NodeContext, here: Site) -> None:
    config = {
        "url": here.url("/orders?a=1"),
        "method": "POST",
        "headers": {"X-One": "1"},
        "query": {"b": 2, "c": True, "d": None, "e": "é"},
        "body": {"x": [1, "é"]},
    }
    outcome = await run("http_request", config, context)
    assert isinstance(outcome, Completed)
    assert (outcome.output["status"], outcome.output["body"]) == (200, {"path": "/orders?a=1&b=2&c=true&e=%C3%A9"})
    assert outcome.output["headers"]["content-type"].startswith("application/json")
    ((method, _, headers),) = here.asked
    assert (method, here.bodies) == ("POST", ['{"x":[1,"é"]}'.encode()])
    assert (headers["Idempotency-Key"], headers["Content-Type"], headers["X-One"]) == ("7/a/", "application/json", "1")


async def test_a_given_idempotency_key_takes_the_place_of_ours(context: NodeContext, here: Site) -> None:
    await run("http_request", {"url": here.url(), "headers": {"idempotency-key": "mine"}}, context)
    assert here.asked[0][2].getall("Idempotency-Key") == ["mine"]


async def test_http_request_sends_text_as_it_is(context: NodeContext, here: Site) -> None:
    config = {"url": here.url(), "method": "PUT", "body": "plain", "headers": {"content-type": "text/csv"}}
    await run("http_request", config, context)
    assert (here.bodies, here.asked[0][2]["Content-Type"]) == ([b"plain"], "text/csv")


async def answered(context: NodeContext, head: bytes, body: bytes, **config: Any) -> Outcome:
    async with raw(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body)) as url:
        return await run("http_request", {"url": url, **config}, context)


@pytest.mark.parametrize(
    ("kind", "body", "decoded"),
    [
        (b"application/json", b'{"a":1}', {"a": 1}),
        (b"application/problem+json; charset=utf-8", b"[1]", [1]),
        (b"text/plain", b"a\0b", "a\ufffdb"),
        (b"text/html; charset=latin-1", b"caf\xe9", "café"),
        (b"application/octet-stream", b"\xff", "\ufffd"),
        (b"application/json", b"", None),
    ],
)
async def test_http_request_decodes_the_answer(context: NodeContext, kind: bytes, body: bytes, decoded: Any) -> None:
    outcome = await answered(context, b"200 OK\r\nContent-Type: " + kind, body)
    assert isinstance(outcome, Completed)
    assert outcome.output["body"] == decoded


@pytest.mark.parametrize("body", [b"{", b'{"a":1,"a":2}', b"NaN", b"[" * 1_000, b'"\\ud800"', b"\xff"])
async def test_json_that_is_not_acceptable_is_a_failure(context: NodeContext, body: bytes) -> None:
    with pytest.raises(TaskError, match="not acceptable JSON") as caught:
        await answered(context, b"200 OK\r\nContent-Type: application/json", body)
    assert caught.value.type == "bad_answer"


@pytest.mark.parametrize(
    ("status", "config", "retryable"),
    [
        (b"503 x", {}, True),
        (b"429 x", {}, True),
        (b"404 x", {}, False),
        (b"404 x", {"retry_on_status": [404]}, True),
        (b"503 x", {"retry_on_status": []}, False),
        (b"200 OK", {"expected_status": [201]}, False),
        (b"302 x", {}, False),
    ],
)
async def test_a_surprise_is_a_failure_that_may_be_retried_or_not(
    context: NodeContext, status: bytes, config: dict[str, Any], retryable: bool
) -> None:
    with pytest.raises(TaskError, match=f"answered {status[:3].decode()}: why") as caught:
        await answered(context, status, b"why", **config)
    assert (caught.value.type, caught.value.retryable) == ("http_status", retryable)


async def test_an_expected_status_is_no_surprise(context: NodeContext) -> None:
    outcome = await answered(context, b"404 x", b"", expected_status=[200, 404])
    assert isinstance(outcome, Completed)
    assert outcome.output["status"] == 404


@pytest.mark.parametrize(
    ("url", "kind", "retryable"),
    [("http://169.254.169.254/", "egress_refused", False), ("http://127.0.0.1:1/", "connection", True)],
)
async def test_what_does_not_come_to_an_answer_says_so(
    context: NodeContext, url: str, kind: str, retryable: bool
) -> None:
    error = await failure("http_request", {"url": url}, context)
    assert (error.type, error.retryable) == (kind, retryable)


async def test_a_failure_names_no_secret_of_the_url(context: NodeContext) -> None:
    async with raw(b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n") as url:
        secret = url.replace("//", "//user:password@") + "?token=secret"
        error = await failure("http_request", {"url": secret}, context)
    assert "password" not in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({}, ["/config/url"]),
        ({"url": ""}, ["/config/url"]),
        ({"url": "http://x", "method": "STEAL"}, ["/config/method"]),
        ({"url": "http://x", "headers": {"a": 1}}, ["/config/headers"]),
        ({"url": "http://x", "query": {"a": [1]}}, ["/config/query"]),
        ({"url": "http://x", "expected_status": [99]}, ["/config/expected_status/0"]),
        ({"url": "http://x", "timeout": 0}, ["/config/timeout"]),
        ({"url": "http://x", "verify": False}, ["/config/verify"]),
    ],
)
def test_http_request_tells_its_faults_at_save(config: dict[str, Any], where: list[str]) -> None:
    assert faults("http_request", config) == where


# --- the catalog ---


async def test_a_type_that_is_not_here_is_a_final_failure_and_does_not_block() -> None:
    assert not CATALOG.is_blocking("of_another_release")
    error = await failure("of_another_release", {})
    assert (error.type, error.retryable) == ("unknown_node_type", False)
