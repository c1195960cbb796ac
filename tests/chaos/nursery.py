"""Processes that start quickly: one with the libraries imported forks, and the child imports the product.

What the child does from there on is what `python <arguments>` does; only the import of the libraries, most of a start,
is paid once. For the small checks in `make test`; the full ones start every process from nothing.
"""

import gc
import os
import runpy
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import msgspec

from deploy.processes import ROOT, Process

LIBRARIES = (
    "aiohttp.web",
    "fastapi",
    "google.rpc.error_details_pb2",
    "grpc.aio",
    "grpc_health.v1.health_pb2_grpc",
    "grpc_reflection.v1alpha.reflection",
    "httptools",
    "psycopg2",
    "pydantic_settings",
    "redis.asyncio",
    "sqlmodel",
    "structlog",
    "typer",
    "uvicorn",
    "uvloop",
)


class Birth(msgspec.Struct):
    """What the child is to become."""

    arguments: list[str]
    environment: dict[str, str]
    log: str


class Nursery:
    """The process that forks; it ends with the one that made it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )

    def fork(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
        """The id of a new process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        birth = Birth(list(arguments), dict(environment), str(log))
        self._process.stdin.write(msgspec.json.encode(birth) + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


class Forked(Process):
    """A `Process` out of a nursery."""

    def __init__(
        self, nursery: Nursery, name: str, arguments: Sequence[str], settings: Mapping[str, str | None], log: Path
    ) -> None:
        super().__init__(name, arguments, settings, log)
        self._nursery = nursery
        self._pid = 0
        self._handle: int | None = None

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def alive(self) -> bool:
        return self._handle is not None and not select.select([self._handle], [], [], 0)[0]

    def start(self) -> None:
        environment = {k: v for k, v in {**os.environ, **self._settings}.items() if v is not None}
        self._pid = self._nursery.fork(self._arguments, environment, self.log)
        with suppress(ProcessLookupError):
            self._handle = os.pidfd_open(self._pid)

    def kill(self) -> None:
        if self._handle is not None:
            self.send(signal.SIGKILL)
            self._wait(None)
            os.close(self._handle)
            self._handle = None

    def stop(self, seconds: float = 10.0) -> None:
        self.send(signal.SIGTERM)
        self._wait(seconds)
        self.kill()

    def _wait(self, seconds: float | None) -> None:
        if self._handle is not None:
            select.select([self._handle], [], [], seconds)


def main() -> None:
    """Forks for each line of standard input, and answers with the child's id."""
    for library in LIBRARIES:
        import_module(library)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        birth = msgspec.json.decode(line, type=Birth)
        child = os.fork()
        if not child:
            _become(birth)
        print(child, flush=True)


def _become(birth: Birth) -> NoReturn:
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _redirect(birth.log)
        os.environ.clear()
        os.environ.update(birth.environment)
        sys.argv = [*birth.arguments]
        if birth.arguments[0] == "-m":
            sys.argv = sys.argv[1:]
            runpy.run_module(birth.arguments[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(birth.arguments[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _redirect(log: str) -> None:
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    empty = os.open(os.devnull, os.O_RDONLY)
    for source, number in ((empty, 0), (target, 1), (target, 2)):
        os.dup2(source, number)


if __name__ == "__main__":
    main()
