"""A TCP proxy before PostgreSQL that loses answers when told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit


class Proxy:
    """Stands between a store and the server. `lose(marker)` cuts the connection instead of passing on the answer to
    the next query that contains `marker`, which the server has carried out by then (`before`: never gets)."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432"
        self._name = parts.path
        self._marker: bytes | None = None
        self._before = False
        self.lost = 0
        self.refusing = False
        self._writers: set[asyncio.StreamWriter] = set()

    def lose(self, marker: str, *, before: bool = False) -> None:
        self._marker, self._before = marker.encode(), before

    def cut(self) -> None:
        for writer in self._writers:
            writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        yield f"postgresql://postgres@127.0.0.1:{port}{self._name}?sslmode=disable&gssencmode=disable"
        server.close()
        self.cut()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_unix_connection(self._socket)
        self._writers |= {writer, up_writer}
        dropping = asyncio.Event()

        async def up() -> None:
            while data := await reader.read(1 << 20):
                if self._marker is not None and self._marker in data:
                    self._marker = None
                    self.lost += 1
                    dropping.set()
                    if self._before:
                        break
                up_writer.write(data)

        async def down() -> None:
            while data := await up_reader.read(1 << 20):
                if dropping.is_set():
                    break
                writer.write(data)

        jobs = [asyncio.create_task(up()), asyncio.create_task(down())]
        await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        for end in (writer, up_writer):
            end.close()
            self._writers.discard(end)
