"""Which paths are cached under which tags, and that what is sent is what was stored."""

from typing import Any

import pytest
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.cache_middleware import CacheMiddleware, cache_tags
from cache.memory import MemoryCache
from tests.rest import Rest


@pytest.mark.parametrize(
    ("path", "tags"),
    [
        ("/workflows", ("workflows",)),
        ("/workflows/", ("workflows",)),
        ("/workflows/1", ("workflow:1",)),
        ("/workflows/007/", ("workflow:7",)),
        ("/workflows/nightly", ("workflow:nightly",)),
        ("/workflows/nightly/tasks/", ("workflow:nightly",)),
        ("/workflows/1/tasks/5", ("workflow:1",)),
        ("/executions/3", ("execution:3",)),
        ("/executions/03/steps/", ("execution:3",)),
        ("/executions", ()),
        ("/executions/", ()),
        ("/executions/3/events", ()),
        ("/executions/x", ()),
        ("/workflows/1/execute", ()),
        ("/workflows/a b", ()),
        ("/workflows//", ()),
        ("/health", ()),
        ("/", ()),
    ],
)
def test_tags(path: str, tags: tuple[str, ...]) -> None:
    assert cache_tags(path) == tags


class Counting:
    """Answers with the number of times it was asked."""

    def __init__(self, **headers: str) -> None:
        self.asked = 0
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await PlainTextResponse(f"{self.asked}", headers=self.headers)(scope, receive, send)


async def test_a_hit_is_the_stored_answer() -> None:
    app = Counting(x_total_count="7")
    rest = Rest(CacheMiddleware(app, MemoryCache()))
    miss, hit = await rest.get("/workflows"), await rest.get("/workflows")
    assert (miss.headers.pop("x-cache"), hit.headers.pop("x-cache")) == ("miss", "hit")
    assert miss == hit
    assert app.asked == 1


async def test_another_principal_is_another_answer() -> None:
    def principal(scope: Scope) -> bytes:
        return b"".join(value for name, value in scope["headers"] if name == b"authorization")

    rest = Rest(CacheMiddleware(Counting(), MemoryCache(), principal))
    one = [await rest.get("/workflows", authorization=name) for name in ("anna", "ben", "anna", "ben")]
    assert [answer.body for answer in one] == [b"1", b"2", b"1", b"2"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
async def test_other_methods_pass(method: str) -> None:
    app = Counting()
    rest = Rest(CacheMiddleware(app, MemoryCache()))
    for _ in range(2):
        assert "etag" not in (await rest.send(method, "/workflows")).headers
    assert app.asked == 2


async def test_long_queries_and_no_store_are_not_kept() -> None:
    app = Counting()
    rest = Rest(CacheMiddleware(app, MemoryCache()))
    for _ in range(2):
        await rest.get("/workflows?limit=" + "0" * 600)
    assert app.asked == 2
    rest = Rest(CacheMiddleware(live := Counting(cache_control="no-store"), MemoryCache()))
    for _ in range(2):
        assert "etag" in (await rest.get("/executions/1")).headers
    assert live.asked == 2


async def test_without_a_cache_there_are_still_etags() -> None:
    rest = Rest(CacheMiddleware(PlainTextResponse("same"), None))
    etag = (await rest.get("/workflows/1")).headers["etag"]
    assert (await rest.get("/workflows/1", if_none_match=etag)).status == 304


async def test_a_stream_passes_untouched() -> None:
    async def pieces() -> Any:
        yield b"a"
        yield b"b"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(pieces())(scope, receive, send)

    rest = Rest(CacheMiddleware(app, MemoryCache()))
    answer = await rest.get("/workflows")
    assert answer.body == b"ab"
    assert "etag" not in answer.headers
