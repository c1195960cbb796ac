"""Answers cached GETs before FastAPI sees them, and gives ETags to those that it lets through.

Fills what it lets through if the route allows it: status 200 and no `Cache-Control: no-store` (which a live
execution has). Nothing is invalidated here; the engine's service does that.
"""

import re
from collections.abc import Callable
from hashlib import blake2b

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.parameters import parse_id, parse_ref
from engine.cache_port import ResponseCache

Headers = list[tuple[bytes, bytes]]

LIFE = 30.0
"""Seconds that an answer is kept: what a writer that died between its commit and its announcement can spoil."""
LONGEST_QUERY = 512
FORMAT = b"1"
"""Part of every key: raise it when the bytes of answers change, so that releases may share a cache."""
_WORKFLOW = re.compile(r"/workflows(?:/([^/]+)(?:/tasks(?:/[^/]+)?)?)?/?")
_EXECUTION = re.compile(r"/executions/([^/]+)(?:/steps)?/?")


class _Answer(msgspec.Struct, frozen=True, array_like=True):
    """A 200 ready to be sent."""

    etag: bytes
    headers: Headers
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Answer).decode


def everybody(scope: Scope) -> bytes:
    """The principal scope while there are no accounts: all see the same."""
    return b""


def cache_tags(path: str) -> tuple[str, ...]:
    """The tags of a cacheable path; empty: it is never cached."""
    if found := _WORKFLOW.fullmatch(path):
        if found[1] is None:
            return ("workflows",)
        ref = parse_ref(found[1])
        return () if ref is None else (f"workflow:{ref}",)
    if found := _EXECUTION.fullmatch(path):
        number = parse_id(found[1])
        return () if number is None else (f"execution:{number}",)
    return ()


class CacheMiddleware:
    """A plain ASGI middleware. `principal` is asked before the cache; its answer is part of the key."""

    def __init__(
        self, app: ASGIApp, cache: ResponseCache | None, principal: Callable[[Scope], bytes] = everybody
    ) -> None:
        self._app = app
        self._cache = cache
        self._principal = principal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        key, condition = self._key(scope)
        cache = self._cache
        stored = None if cache is None else cache.get_local(key)
        if stored is not None:
            await _send_stored(stored, condition, send)
            return
        tags = cache_tags(scope["path"])
        if not tags:
            await self._app(scope, receive, send)
        elif cache is None or len(scope["query_string"]) > LONGEST_QUERY:
            await self._app(scope, receive, _Tagger(send, condition))
        elif (stored := await cache.get(key)) is not None:
            await _send_stored(stored, condition, send)
        else:
            fill = _Fill(cache, key, tags, await cache.begin(tags))
            await self._app(scope, receive, _Tagger(send, condition, fill))

    def _key(self, scope: Scope) -> tuple[bytes, bytes]:
        """The key of the answer, and the request's `If-None-Match`."""
        accept = encoding = condition = b""
        for name, value in scope["headers"]:
            if name == b"accept":
                accept += value
            elif name == b"accept-encoding":
                encoding += value
            elif name == b"if-none-match":
                condition += value
        path = scope.get("raw_path") or scope["path"].encode()
        parts = (FORMAT, self._principal(scope), path, scope["query_string"], accept, encoding)
        return b"\n".join(parts), condition


class _Fill:
    """Where an answer goes if it may be kept."""

    __slots__ = ("_cache", "_key", "_tags", "_token")

    def __init__(self, cache: ResponseCache, key: bytes, tags: tuple[str, ...], token: object) -> None:
        self._cache = cache
        self._key = key
        self._tags = tags
        self._token = token

    async def put(self, answer: _Answer) -> None:
        await self._cache.put(self._key, _encode(answer), self._tags, self._token, LIFE)


class _Tagger:
    """A `send` that gives an ETag to a 200 of one piece, answers 304 where that suffices, and fills the cache."""

    __slots__ = ("_condition", "_fill", "_send", "_start")

    def __init__(self, send: Send, condition: bytes, fill: _Fill | None = None) -> None:
        self._send = send
        self._condition = condition
        self._fill = fill
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            self._start = message
            return
        start, self._start = self._start, None
        if start is None:
            await self._send(message)
        elif message.get("more_body", False):
            await self._send(start)
            await self._send(message)
        else:
            await self._finish(list(start["headers"]), message.get("body", b""))

    async def _finish(self, headers: Headers, body: bytes) -> None:
        etag = b'"%b"' % blake2b(body, digest_size=12).hexdigest().encode()
        keep = not any(name == b"cache-control" and b"no-store" in value for name, value in headers)
        headers.append((b"etag", etag))
        if keep:
            headers.append((b"cache-control", b"private, no-cache"))
            if self._fill is not None:
                await self._fill.put(_Answer(etag, [*headers, (b"x-cache", b"hit")], body))
        await _send_answer(_Answer(etag, [*headers, (b"x-cache", b"miss")], body), self._condition, self._send)


async def _send_stored(stored: bytes, condition: bytes, send: Send) -> None:
    await _send_answer(_decode(stored), condition, send)


async def _send_answer(answer: _Answer, condition: bytes, send: Send) -> None:
    if condition and _matches(condition, answer.etag):
        headers = [header for header in answer.headers if not header[0].startswith(b"content-")]
        await send({"type": "http.response.start", "status": 304, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.start", "status": 200, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})


def _matches(condition: bytes, etag: bytes) -> bool:
    """RFC 9110: `If-None-Match` compares weakly; `*` matches whatever there is."""
    tags = [tag.strip().removeprefix(b"W/") for tag in condition.split(b",")]
    return etag in tags or tags == [b"*"]
