"""The one way out, against a server on this machine that means no good."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from egress.client import MAX_BODY, Answer, EgressError, HttpClient, shown
from tests.hostile.addresses import HOSTS, URLS
from tests.unit.egress.web import Site, raw, site


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site() as here:
        yield here


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient(allow_private=True) as client:
        yield client


@pytest.fixture
async def strict() -> AsyncIterator[HttpClient]:
    async with HttpClient(allow_private=False) as strict:
        yield strict


async def get(client: HttpClient, url: str, **changes: Any) -> Answer:
    given: dict[str, Any] = {"headers": {}, "query": {}, "body": None, "timeout": 5.0, **changes}
    return await client.request(given.pop("method", "GET"), url, **given)


async def refused(client: HttpClient, url: str, **changes: Any) -> EgressError:
    with pytest.raises(EgressError) as caught:
        await get(client, url, **changes)
    return caught.value


async def test_a_call_and_its_answer(client: HttpClient, here: Site) -> None:
    answer = await get(client, here.url("/a?x=1"), method="PUT", headers={"X-One": "1"}, query={"y": "é"}, body=b"body")
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.text() == '{"path": "/a?x=1&y=%C3%A9"}'
    method, _, headers = here.asked[0]
    assert (method, headers["X-One"], here.bodies) == ("PUT", "1", [b"body"])


# --- where a call may go ---


@pytest.mark.parametrize("host", HOSTS)
async def test_no_spelling_of_this_machine_is_reached(strict: HttpClient, here: Site, host: str) -> None:
    error = await refused(strict, here.url(host=host))
    assert error.type in ("egress_refused", "connection")
    assert here.asked == []


@pytest.mark.parametrize("url", URLS)
async def test_what_is_no_http_url_is_refused_for_good(client: HttpClient, url: str) -> None:
    error = await refused(client, url)
    assert (error.type, error.retryable) in (("egress_refused", False), ("connection", True))
    assert error.type == "egress_refused" or "Name or service" in str(error)


async def test_private_targets_are_allowed_by_the_setting(client: HttpClient, here: Site) -> None:
    assert (await get(client, here.url())).status == 200
    assert (await get(client, here.url(host="localhost"))).status == 200


# --- redirects ---


async def test_a_redirect_to_a_private_address_is_refused(
    strict: HttpClient, here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first host is on the list of nobody; only the second is what the guard is about."""
    monkeypatch.setattr("egress.addresses._PRIVATE", [])
    here.target = f"http://169.254.169.254:{here.port}/latest"
    error = await refused(strict, here.url("/hop"))
    assert (error.type, error.retryable) == ("egress_refused", False)
    assert "169.254.169.254" in str(error)
    assert [path for _, path, _ in here.asked] == ["/hop"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://[::1", "http://", "ftp://x/", "http://a..b/"])
async def test_a_redirect_to_nowhere_is_refused_for_good(client: HttpClient, here: Site, target: str) -> None:
    here.target = target
    assert not (await refused(client, here.url("/hop"))).retryable


async def test_redirects_are_followed_up_to_five(client: HttpClient, here: Site) -> None:
    here.target = "../there?x=1"
    assert (await get(client, here.url("/hop"))).text() == '{"path": "/there?x=1"}'
    here.asked.clear()
    error = await refused(client, here.url("/loop"))
    assert "more than 5 redirects" in str(error)
    assert len(here.asked) == 6


SENT = {
    "Authorization": "Bearer secret",
    "Cookie": "session=secret",
    "Proxy-Authorization": "secret",
    "X-Api-Key": "secret",
    "Host": "other",
    "Accept": "text/html",
    "Idempotency-Key": "1/a/",
}


async def test_credentials_stay_with_their_origin(client: HttpClient, here: Site) -> None:
    here.target = here.url("/there", host="localhost")
    without = {name: value for name, value in SENT.items() if name != "Authorization"}
    await get(client, here.url("/hop").replace("//", "//user:password@"), headers=without)
    await get(client, here.url("/hop"), headers=SENT)
    for place in (1, 3):
        _, path, headers = here.asked[place]
        assert path == "/there"
        assert {name: headers.get(name) for name in SENT} == {
            **dict.fromkeys(SENT),
            "Host": f"localhost:{here.port}",
            "Accept": "text/html",
            "Idempotency-Key": "1/a/",
        }


async def test_headers_stay_on_the_same_origin(client: HttpClient, here: Site) -> None:
    here.target = "/there"
    await get(client, here.url("/hop"), headers=SENT)
    assert here.asked[1][2]["X-Api-Key"] == "secret"


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (302, "PUT", "PUT"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
    ],
)
async def test_the_method_after_a_redirect(client: HttpClient, here: Site, status: int, method: str, then: str) -> None:
    here.target, here.status = "/there", status
    await get(client, here.url("/hop"), method=method, body=None if method == "HEAD" else b"body")
    assert here.asked[1][0] == then
    assert here.bodies[1] == (b"body" if then == method != "HEAD" else b"")


async def test_no_cookie_is_kept(client: HttpClient, here: Site) -> None:
    await get(client, here.url("/cookie", host="localhost"))
    await get(client, here.url("/", host="localhost"))
    assert "Cookie" not in here.asked[1][2]


# --- names ---


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """A name server that gives these answers one after another; what it was asked."""
    asked: list[str] = []
    left = list(answers)

    def getaddrinfo(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in left.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


async def test_what_was_checked_is_what_is_connected_to(
    client: HttpClient, here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that answers something else the second time is not asked a second time."""
    asked = resolving(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    assert (await get(client, here.url(host="rebinding.test"))).status == 200
    assert asked == ["rebinding.test"]


async def test_each_connection_asks_and_checks_anew(
    client: HttpClient, here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    here.target = here.url("/there", host="second.test")
    error = await refused(client, here.url("/hop", host="first.test"))
    assert "second.test" in str(error)
    assert len(here.asked) == 1


@pytest.mark.parametrize("answer", [["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"]])
async def test_one_bad_address_spoils_a_name(
    strict: HttpClient, here: Site, monkeypatch: pytest.MonkeyPatch, answer: list[str]
) -> None:
    resolving(monkeypatch, answer)
    error = await refused(strict, here.url(host="mixed.test"))
    assert (error.type, error.retryable) == ("egress_refused", False)
    assert here.asked == []


# --- bounds ---


async def test_a_call_ends_with_its_timeout(client: HttpClient, here: Site) -> None:
    async with asyncio.timeout(5):
        error = await refused(client, here.url("/slow?token=secret"), timeout=0.05)
    assert (error.type, error.retryable) == ("timeout", True)
    assert "did not answer within 0.05 s" in str(error)
    assert "secret" not in str(error)


async def test_a_body_that_trickles_ends_with_the_timeout_too(client: HttpClient) -> None:
    async with raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx") as url:
        assert (await refused(client, url, timeout=0.1)).type in ("timeout", "connection")


@pytest.mark.parametrize("path", ["/bomb", "/endless", f"/size?n={MAX_BODY + 1}"])
async def test_an_answer_is_bounded_decompressed(client: HttpClient, here: Site, path: str) -> None:
    error = await refused(client, here.url(path))
    assert (error.type, error.retryable) == ("egress_refused", False)
    assert str(MAX_BODY) in str(error)


async def test_an_answer_of_exactly_the_bound_is_taken(client: HttpClient, here: Site) -> None:
    assert len((await get(client, here.url(f"/size?n={MAX_BODY}"))).content) == MAX_BODY


async def test_many_calls_run_side_by_side(client: HttpClient, here: Site) -> None:
    answers = await asyncio.gather(*(get(client, here.url(f"/{number}")) for number in range(50)))
    assert [answer.status for answer in answers] == [200] * 50


# --- what is sent and what comes back ---


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nEvil: 1"},
        {"X": "a\nb"},
        {"X\r\nEvil": "1"},
        {"X Y": "1"},
        {"": "1"},
        {"X:": "1"},
        {"Content-Length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"connection": "close"},
        {"Upgrade": "websocket"},
        {"Expect": "100-continue"},
    ],
)
async def test_headers_cannot_break_out_of_the_request(client: HttpClient, here: Site, headers: dict[str, str]) -> None:
    error = await refused(client, here.url(), headers=headers, method="POST", body=b"x")
    assert (error.type, error.retryable, here.asked) == ("egress_refused", False, [])


@pytest.mark.parametrize(
    ("head", "body", "text"),
    [
        (b"Content-Type: text/plain; charset=latin-1", b"caf\xe9", "café"),
        (b"Content-Type: text/plain", b"caf\xe9", "caf�"),
        (b"Content-Type: text/plain; charset=nonsense", b"a", "a"),
        (b"Content-Type: text/plain; charset=idna", b"a\xff", "a�"),
        (b"Content-Type: text/plain; charset=undefined", b"a", "a"),
        (b"Content-Type: text/plain; charset=utf-7", b"+2AA-", "+2AA-"),
        (b"Content-Type: text/plain; charset=unicode_escape", b"\\ud800", "\\ud800"),
        (b"Content-Type: text/plain; charset=hex", b"6162", "6162"),
        (b"X: y", b"plain", "plain"),
    ],
)
async def test_any_answer_is_text_that_can_be_stored(client: HttpClient, head: bytes, body: bytes, text: str) -> None:
    async with raw(b"HTTP/1.1 200 OK\r\n%s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body)) as url:
        assert (await get(client, url)).text() == text


async def test_a_header_that_is_no_text_is_replaced(client: HttpClient) -> None:
    async with raw(b"HTTP/1.1 200 OK\r\nX-Name: caf\xe9\r\nContent-Length: 0\r\n\r\n") as url:
        assert (await get(client, url)).headers["x-name"] == "caf?"


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", b"HTTP/1.1 999999 x\r\n\r\n"]
)
async def test_what_is_no_answer_may_be_tried_again(client: HttpClient, answer: bytes) -> None:
    async with raw(answer) as url:
        error = await refused(client, url + "?token=secret")
    assert (error.type, error.retryable) == ("connection", True)
    assert "secret" not in str(error)


async def test_errors_name_no_secret_of_the_url(client: HttpClient) -> None:
    error = await refused(client, "http://user:password@127.0.0.1:1/path?token=secret#part")
    assert error.type == "connection"
    assert str(error).startswith("GET http://127.0.0.1:1/path: ")
    assert "password" not in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://user:password@host:8/a/b?x=1#y", "https://host:8/a/b"),
        ("http://host", "http://host"),
        ("http://[::1", "the URL"),
        ("", "the URL"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, text: str) -> None:
    assert shown(url) == text


async def test_a_signed_url_is_sent_as_it_is_written(here: Site) -> None:
    async with HttpClient(allow_private=True) as client:
        path = "/a%20b/../%2B%7e//c?x=%2F%20&a=1"
        await client.request("GET", here.url(path), headers={}, query={}, body=None, timeout=5, signed=True)
        assert [asked for _, asked, _ in here.asked] == [path]
        for bad in ("/a b", "/ü", "/a\r\nX: y", "/#x", '/"'):
            with pytest.raises(EgressError) as caught:
                await client.request("GET", here.url(bad), headers={}, query={}, body=None, timeout=5, signed=True)
            assert caught.value.type == "egress_refused"
        with pytest.raises(EgressError, match="not allowed"):
            await client.request(
                "GET", "http://169.254.169.254/", headers={}, query={}, body=None, timeout=5, signed=True
            )
