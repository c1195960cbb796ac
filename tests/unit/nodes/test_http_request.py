"""`http_request` against real servers of this machine."""

import base64
from typing import Any

import pytest

from engine.errors import TaskError
from engine.model import Completed, Failed, Outcome
from engine.task_ports import NodeContext
from tests.unit.egress.web import Site, raw
from tests.unit.nodes.harness import failure, faults, run, runner, timed_out


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
        (b"202 x", {"retry_on_status": [202]}, True),
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


@pytest.mark.parametrize("kind", ["http_call", "http", "http_request@1", "http@1"])
async def test_http_request_has_other_names(context: NodeContext, here: Site, kind: str) -> None:
    outcome = await run(kind, {"url": here.url()}, context)
    assert isinstance(outcome, Completed)


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        (
            {"type": "basic", "username": "ana", "password": "p:w é"},
            "Basic " + base64.b64encode("ana:p:w é".encode()).decode(),
        ),
        ({"type": "bearer", "token": "t0k"}, "Bearer t0k"),
    ],
)
async def test_http_request_authenticates(context: NodeContext, here: Site, auth: dict[str, str], header: str) -> None:
    await run("http_request", {"url": here.url(), "auth": auth}, context)
    assert here.asked[0][2].getall("Authorization") == [header]


async def test_a_redirect_to_another_place_does_not_get_the_credentials(context: NodeContext, here: Site) -> None:
    here.target = here.url("/", host="127.0.0.2").replace("127.0.0.2", "localhost")
    auth = {"type": "bearer", "token": "t0k"}
    await run("http_request", {"url": here.url("/hop"), "auth": auth}, context)
    assert [("Authorization" in headers) for _, _, headers in here.asked] == [True, False]


async def test_http_request_sends_a_form(context: NodeContext, here: Site) -> None:
    form = {"a": "x & y", "n": 1, "none": None, "yes": True}
    await run("http_request", {"url": here.url(), "method": "POST", "form": form}, context)
    assert here.bodies == [b"a=x+%26+y&n=1&yes=true"]
    assert here.asked[0][2]["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"body": 1, "form": {}}, ["/config"]),
        ({"auth": {"type": "bearer", "token": "x"}, "headers": {"AUTHORIZATION": "y"}}, ["/config"]),
        ({"auth": {"type": "oath"}}, ["/config/auth/type"]),
        ({"auth": {"type": "bearer"}}, ["/config/auth"]),
        ({"form": {"a": {}}}, ["/config/form"]),
        ({"payload": 1, "body": 2}, ["/config/payload"]),
    ],
)
def test_http_request_tells_at_save_what_does_not_go_together(config: dict[str, Any], where: list[str]) -> None:
    assert faults("http_request", {"url": "http://x", **config}) == where


async def test_a_colon_in_a_user_name_is_refused(context: NodeContext, here: Site) -> None:
    auth = {"type": "basic", "username": "a:b"}
    assert (await failure("http_request", {"url": here.url(), "auth": auth}, context)).type == "invalid_config"


async def test_http_request_times_out(context: NodeContext, here: Site) -> None:
    await timed_out(context, "http_request", {"url": here.url("/slow")})
    error = await failure("http_request", {"url": here.url("/slow"), "timeout": 0.1}, context)
    assert (error.type, error.retryable) == ("timeout", True)


async def test_http_request_can_be_cancelled(context: NodeContext, here: Site) -> None:
    async with runner(context) as attempts:
        await attempts.cancelled("http_request", {"url": here.url("/slow")}, here.reached)


async def test_http_request_can_be_tried_again(context: NodeContext, here: Site) -> None:
    here.statuses = [503]
    async with runner(context) as attempts:
        first = await attempts.result("http_request", {"url": here.url()})
        second = await attempts.result("http_request", {"url": here.url()}, attempt=2)
    assert isinstance(first, Failed)
    assert first.retryable
    assert isinstance(second, Completed)
    keys = {headers["Idempotency-Key"] for _, _, headers in here.asked}
    assert keys == {"7/a/"}
