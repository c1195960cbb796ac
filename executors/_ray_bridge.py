"""`python -m executors._ray_bridge <file descriptor>`: the process that speaks to Ray for one engine.

Ray's driver blocks, and takes its process down with it when the head is gone; an engine must not die of that. The
engine writes on a socket pair, hears results from it, and starts another bridge when this one ends.
"""

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NoReturn, TextIO, assert_never

from executors import _ray_wire as wire
from executors._ray_wire import Refused, Setup

try:
    import ray

    from executors._ray_pool import Pool
except ModuleNotFoundError as error:
    if error.name != "ray":
        raise
    ray = None  # type: ignore[assignment,unused-ignore]
    Pool = None  # type: ignore[assignment,misc,unused-ignore]
MISSING = ray is None

HEAD = 10.0
"""Seconds without an answer after which the head counts as lost."""
LOOK = 1.0
"""Seconds between two questions to it."""
START = 90.0
"""Seconds for the first worker to open."""
REACH = 5.0
"""Seconds to reach the head's port."""
OBJECTS = 256 * 2**20
"""Bytes of the object store of a Ray of our own: calls and results are small."""
THREADS = 32
"""Of Ray's API at once: a call that blocks must not keep the others waiting."""

log = logging.getLogger(__name__)


class _Head:
    """Asks the cluster's head again and again whether it is there."""

    def __init__(self) -> None:
        self._answered = time.monotonic()

    def begin(self) -> None:
        self._answered = time.monotonic()
        threading.Thread(target=self._watch, name="head", daemon=True).start()

    def _watch(self) -> None:
        while time.monotonic() - self._answered < HEAD:
            time.sleep(LOOK)
        self.fail(RuntimeError(f"the head of the Ray cluster did not answer for {HEAD:g} s"))

    async def nodes(self) -> list[dict[str, object]]:
        """What the head knows of the nodes."""
        nodes: list[dict[str, object]] = await asyncio.to_thread(ray.nodes)
        self._answered = time.monotonic()
        return nodes

    async def answers(self) -> None:
        await self.nodes()

    def fail(self, error: BaseException | None) -> NoReturn:
        log.error("the bridge to Ray ends: %s", error)
        os._exit(1)


class _Bridge:
    """From the engine's messages to the pool, and back."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._head = _Head()

    def tell(self, message: wire.FromBridge) -> None:
        self._writer.write(wire.frame(message))

    async def refuse(self, message: str, *, lasting: bool) -> None:
        self.tell(Refused(message, lasting))
        with suppress(OSError):
            await self._writer.drain()

    async def run(self, setup: Setup, reader: asyncio.StreamReader) -> None:
        """Until the engine ends."""
        try:
            await asyncio.to_thread(_connect, setup)
        except Exception as error:
            await self.refuse(_why(error, setup.address), lasting=False)
            return
        self._head.begin()
        pool = Pool(setup, secrets.token_hex(6), self.tell, self._head)
        looking = asyncio.create_task(self._look(pool))
        try:
            async with asyncio.timeout(START):
                await pool.start()
        except Exception as error:
            await self.refuse(f"no Ray worker can begin: {_last_line(error)}; {CURE}", lasting=True)
            return
        self.tell(wire.Ready())
        while (body := await wire.read_frame(reader)) is not None:
            message = wire.read_to_bridge(body)
            match message:
                case wire.Submit(calls):
                    pool.submit(calls)
                case wire.Attach(ids):
                    await pool.attach(ids)
                case wire.Cancel(ids):
                    pool.cancel(ids)
                case wire.Forget(ids):
                    pool.forget(ids)
                case wire.Stop():
                    await pool.stop()
                    break
                case Setup():
                    raise AssertionError("a bridge is set up once")
                case _:
                    assert_never(message)
        looking.cancel()

    async def _look(self, pool: "Pool") -> None:
        while True:
            await asyncio.sleep(LOOK)
            try:
                await pool.look(await self._head.nodes())
            except Exception as error:
                self._head.fail(error)


CURE = "the nodes of the cluster need this project's code and packages: the same image, or PYTHONPATH"


def _connect(setup: Setup) -> None:
    if setup.address is None:
        ray.init(
            address="local",
            namespace=setup.namespace,
            include_dashboard=False,
            object_store_memory=OBJECTS,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        return
    host, _, port = setup.address.rpartition("://")[2].rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), REACH).close()
    if setup.address.startswith("ray://"):
        ray.init(setup.address, namespace=setup.namespace, log_to_driver=False)
    else:
        ray.init(setup.address, namespace=setup.namespace, log_to_driver=False, logging_level=logging.ERROR)


def _why(error: Exception, address: str | None) -> str:
    if address is None:
        return f"Ray cannot start on this machine: {_last_line(error)}"
    return (
        f"no Ray cluster answers at {address} ({_last_line(error)}); start one (`ray start --head`) or set RAY_ADDRESS"
    )


def _last_line(error: Exception) -> str:
    """What happened, at the end of Ray's long reports."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:500]


async def main(descriptor: int) -> None:
    """Serves the engine at the other end of the socket."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=descriptor))
    bridge = _Bridge(writer)
    body = await wire.read_frame(reader)
    if body is None:
        return
    setup = wire.read_to_bridge(body)
    assert isinstance(setup, Setup)
    if MISSING:
        cure = "install it: pip install 'ray>=2.60' (or requirements-ray.txt)"
        await bridge.refuse(
            f"the executor ray needs the Python package ray, which is not installed; {cure}", lasting=True
        )
        return
    await bridge.run(setup, reader)
    if setup.address is None:
        threading.Timer(REACH, os._exit, (0,)).start()
        ray.shutdown()


def _mute() -> TextIO:
    """Ray's own code writes to standard error behind Python's back; what we say goes on."""
    ours = os.fdopen(os.dup(2), "w")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    return ours


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format="ray bridge: %(message)s", stream=_mute())
    asyncio.run(main(int(sys.argv[1])))
    os._exit(0)
