"""A small web server on this machine, on several names of it."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from multidict import CIMultiDict


class Site:
    """`url("/path")`; `asked` holds the requests that came, `bodies` what they carried."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, CIMultiDict[str]]] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self.target = ""
        self.status = 302
        self.statuses: list[int] = []
        """Answered first, one by one."""
        self.reached = asyncio.Event()
        """Somebody asked for what is slow."""

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path_qs, CIMultiDict(request.headers)))
        self.bodies.append(await request.read())
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        match request.path:
            case "/hop":
                return web.Response(status=self.status, headers={"Location": self.target})
            case "/loop":
                return web.Response(status=302, headers={"Location": "/loop"})
            case path if path.startswith("/slow"):
                self.reached.set()
                await asyncio.sleep(30)
            case "/bomb":
                return web.Response(body=_bomb(), headers={"Content-Encoding": "gzip"})
            case "/endless":
                return await _endless(request)
            case "/size":
                return web.Response(body=b"x" * int(request.query["n"]))
            case "/cookie":
                return web.Response(text="ok", headers={"Set-Cookie": "session=1"})
            case _:
                pass
        return web.json_response({"path": request.path_qs})


def _bomb() -> bytes:
    """64 MB of zeros."""
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(64)) + packer.flush()


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """Serves until the block ends."""
    here = Site()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", here.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    here.port = runner.addresses[0][1]
    try:
        yield here
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw(answer: bytes) -> AsyncIterator[str]:
    """The URL of a server that says these bytes to everybody."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        await server.wait_closed()
