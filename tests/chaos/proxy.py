"""A proxy in front of PostgreSQL that swallows the answers of some commits: they took place, and nobody is told."""

import asyncio
import random
import re
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit

QUERY = ord("Q")
"""The type byte of a query."""
READY = b"Z"
"""That of the message that ends every answer."""


class Proxy:
    """`dropped` counts the answers that were swallowed; each took its connection with it."""

    def __init__(self, url: str, rate: float, seed: int, marker: re.Pattern[bytes]) -> None:
        parts = urlsplit(url)
        self._socket = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._database = parts.path.removeprefix("/")
        self._rate = rate
        self._dice = random.Random(seed)
        self._marker = marker
        self.dropped = 0
        self.seen = 0
        self.url = ""

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, until either side ends it or an answer is swallowed."""
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        swallow = asyncio.Event()
        back = asyncio.create_task(_pass_back(server_reader, writer, swallow))
        try:
            server_writer.write(await _message(reader, kind=b""))
            while not swallow.is_set():
                message = await _message(reader, kind=await reader.readexactly(1))
                if message[0] == QUERY and self._marker.search(message):
                    self._decide(swallow)
                server_writer.write(message)
                await server_writer.drain()
            await asyncio.wait_for(back, 10)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError, TimeoutError):
            pass
        finally:
            back.cancel()
            for each in (writer, server_writer):
                each.close()

    def _decide(self, swallow: asyncio.Event) -> None:
        self.seen += 1
        if self._dice.random() < self._rate:
            self.dropped += 1
            swallow.set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Proxy"]:
        """On a free port; `url` leads through it."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}/{self._database}?sslmode=disable&gssencmode=disable"
        try:
            yield self
        finally:
            server.close()


async def _message(reader: StreamReader, kind: bytes) -> bytes:
    """One message of a client, whole; the first of a connection has no type byte."""
    length = await reader.readexactly(4)
    return kind + length + await reader.readexactly(int.from_bytes(length) - 4)


async def _pass_back(reader: StreamReader, writer: StreamWriter, swallow: asyncio.Event) -> None:
    """Server to client; once `swallow` is set nothing passes, and it ends when the server is ready again."""
    with suppress(asyncio.IncompleteReadError, OSError):
        while True:
            kind = await reader.readexactly(1)
            length = await reader.readexactly(4)
            rest = await reader.readexactly(int.from_bytes(length) - 4)
            if not swallow.is_set():
                writer.write(kind + length + rest)
                await writer.drain()
            elif kind == READY:
                return
    if not swallow.is_set():
        writer.close()
