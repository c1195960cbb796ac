"""Where a check happens: one database, one ledger, and real processes on them that can be killed."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal

from deploy.health import grpc_is_up, rest_is_up
from deploy.processes import Process
from deploy.servers import free_port
from tests import servers
from tests.ledger import Ledger, Make

Kind = Literal["sqlite", "postgresql"]
KINDS: tuple[Kind, ...] = ("sqlite", "postgresql")
Settings = Mapping[str, str]
"""Environment variables."""
NONE: Settings = MappingProxyType({})
SERVE = ("cli.py", "serve")
START = 60.0
"""Seconds that a process has to get ready on a busy machine."""


class Engine:
    """`cli.py serve` (or another door) on fixed ports: started, killed and started again on the same database."""

    make: ClassVar[Make] = Process
    """How its processes are made; the small checks use a nursery."""

    def __init__(self, name: str, settings: Settings, folder: Path, arguments: tuple[str, ...]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        rest, grpc = free_port(), free_port()
        self.rest = f"http://127.0.0.1:{rest}"
        self.grpc = f"127.0.0.1:{grpc}"
        self._arguments = tuple(word.format(rest_port=rest, grpc_port=grpc) for word in arguments)
        self._settings = {**settings, "REST_PORT": str(rest), "GRPC_PORT": str(grpc)}
        self._process: Process | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, failpoint: str = "") -> None:
        """Returns when its doors answer. Raises `RuntimeError` with the end of its log."""
        self.spawn(failpoint)
        await self.ready()

    def spawn(self, failpoint: str = "") -> None:
        """Does not wait."""
        settings = {**self._settings, "FAILPOINT": failpoint}
        self._process = type(self).make(self.name, self._arguments, settings, self.log)
        self._process.start()

    async def ready(self) -> None:
        assert self._process is not None
        process = self._process
        await asyncio.to_thread(process.wait_ready, lambda: self._up(process), START)

    def _up(self, process: Process) -> bool:
        serves_rest = "server" not in self._arguments
        serves_grpc = "uvicorn" not in self._arguments
        return (not serves_rest or rest_is_up(f"{self.rest}/ping")) and (not serves_grpc or grpc_is_up(self.grpc))

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> int | None:
        """Asked to, with SIGTERM; its exit code."""
        return None if self._process is None else self._process.stop()

    def freeze(self) -> None:
        """SIGSTOP: it does not know that time goes on."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send(number)

    def said(self, text: str) -> int:
        """How often `text` stands in its log."""
        return self.log.read_bytes().count(text.encode()) if self.log.exists() else 0

    def tail(self) -> str:
        return "" if self._process is None else self._process.tail()


class World:
    """One database with its ledger; `settings` go to every process. Everything in it ends with it."""

    def __init__(
        self,
        kind: Kind,
        database_url: str,
        ledger: Ledger,
        folder: Path,
        settings: Mapping[str, str],
        guard: str | None,
    ) -> None:
        self.kind = kind
        self.database_url = database_url
        self.ledger = ledger
        self.folder = folder
        self.engines: list[Engine] = []
        self.prefix = () if guard is None else ("-m", "tests.chaos.broken", guard)
        self._settings = {"DATABASE_URL": database_url, "LOG_FORMAT": "json", "LOG_LEVEL": "info", **settings}

    def engine(self, name: str, arguments: tuple[str, ...] = SERVE, **settings: str) -> Engine:
        """Not started yet."""
        engine = Engine(name, {**self._settings, **settings}, self.folder, (*self.prefix, *arguments))
        self.engines.append(engine)
        return engine

    def close(self) -> None:
        for engine in self.engines:
            engine.kill()


@contextmanager
def open_world(
    kind: Kind, *, lease: float, guard: str | None = None, settings: Settings = NONE, database_url: str = ""
) -> Iterator[World]:
    """A fresh database (or the one given), a ledger, no process yet.

    `guard` names what `tests.chaos.broken` changes in every process.
    """
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if kind == "sqlite":
            url = f"sqlite:///{folder}/millrace.db"
        else:
            url = database_url or stack.enter_context(_database())
        ledger = stack.enter_context(Ledger(folder, Engine.make))
        world = World(kind, url, ledger, folder, {"LEASE_SECONDS": str(lease), **settings}, guard)
        stack.callback(world.close)
        yield world


@contextmanager
def _database() -> Iterator[str]:
    with servers.database(servers.migrated_template()) as url:
        yield url
