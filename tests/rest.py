"""A client of an ASGI application in this process: what goes in and comes out is bytes, nothing is repaired."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.types import ASGIApp, Message

from api.app import build
from bootstrap.settings import Settings
from bootstrap.wiring import open_service


class Answer(msgspec.Struct):
    """Header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of a problem."""
        assert self.headers["content-type"] == "application/problem+json"
        problem = self.json()
        assert problem["status"] == self.status
        assert {"type", "title", "detail", "instance", "errors"} <= set(problem)
        code: str = problem["code"]
        return code

    @property
    def pointers(self) -> list[str]:
        return [error["pointer"] for error in self.json()["errors"]]


class Rest:
    """`await rest.get("/workflows/")`; a `body` that is no bytes is sent as JSON."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.send("GET", path, headers=headers)

    async def post(self, path: str, body: Any = b"", **headers: str) -> Answer:
        return await self.send("POST", path, body, headers)

    async def put(self, path: str, body: Any = b"", **headers: str) -> Answer:
        return await self.send("PUT", path, body, headers)

    async def delete(self, path: str) -> Answer:
        return await self.send("DELETE", path)

    async def send(self, method: str, path: str, body: Any = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Header names: `_` stands for `-`."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        if data:
            sent = {"content-type": "application/json", **sent}
        messages: list[Message] = []
        requests: list[Message] = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive() -> Message:
            if not requests:
                await asyncio.Event().wait()
            return requests.pop()

        async def take(message: Message) -> None:
            messages.append(message)

        await self._app(_scope(method, path, sent), receive, take)
        start, *rest = messages
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], found, b"".join(message.get("body", b"") for message in rest))


def _scope(method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    raw, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


@asynccontextmanager
async def open_rest(database_url: str, *, engine: bool = True, redis_url: str | None = None) -> AsyncIterator[Rest]:
    """The whole REST door over a real service."""
    settings = Settings(database_url=database_url, redis_url=redis_url, lease_seconds=0.5)
    async with open_service(settings, engine=engine) as service:
        yield Rest(build(service))
