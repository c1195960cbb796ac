"""Databases and child processes for the benchmarks: the same servers that the tests use, with real fsync."""

import contextlib
import itertools
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg2
import redis

from deploy.health import grpc_is_up, rest_is_up
from deploy.processes import Process
from deploy.servers import PostgresServer, RayNode, RedisServer, free_port, run_sql
from storage import schema


class Database(NamedTuple):
    """A fresh one, with our tables."""

    kind: str
    url: str


class Door(NamedTuple):
    """A running process of ours and where it answers; a port is 0 where it has no such door."""

    process: Process
    rest: int
    grpc: int


class Servers:
    """Started when first asked for, unless URLs are given; everything goes when the block ends."""

    def __init__(self, postgres: str | None = None, redis: str | None = None, ray: str | None = None) -> None:
        self._postgres = postgres
        self._redis = redis
        self._ray = ray
        self._names = itertools.count(1)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self.folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="millrace-bench-")))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def new_folder(self) -> Path:
        """An empty one."""
        folder = self.folder / str(next(self._names))
        folder.mkdir()
        return folder

    @contextmanager
    def sqlite(self) -> Iterator[Database]:
        url = f"sqlite:///{self.new_folder() / 'bench.db'}"
        schema.prepare(url)
        yield Database("SQLite", url)

    @contextmanager
    def postgres(self) -> Iterator[Database]:
        server = self._postgres_server()
        name = f"bench_{uuid4().hex[:12]}"  # others may measure, or test, on the same server
        run_sql(server, f'CREATE DATABASE "{name}"')
        url = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        schema.upgrade(url)
        try:
            yield Database("PostgreSQL", url)
        finally:
            run_sql(server, f'DROP DATABASE "{name}" WITH (FORCE)')

    def databases(self) -> Iterator[Database]:
        """One fresh database of each kind, one after the other."""
        for opened in (self.sqlite, self.postgres):
            with opened() as database:
                yield database

    def redis(self) -> str:
        """The URL of an empty one."""
        if self._redis is None:
            self._redis = self._open.enter_context(RedisServer()).url()
        with contextlib.closing(redis.Redis.from_url(self._redis)) as client:
            client.flushdb()
        return self._redis

    def ray(self) -> str:
        """The address of a head with two cores."""
        if self._ray is None:
            self._ray = self._open.enter_context(RayNode()).address
        return self._ray

    def postgres_version(self) -> str:
        """Of the server that was used; `-` if none was."""
        if self._postgres is None:
            return "-"
        with contextlib.closing(psycopg2.connect(self._postgres)) as connection:
            return str(connection.info.parameter_status("server_version"))

    def _postgres_server(self) -> str:
        if self._postgres is None:
            self._postgres = self._open.enter_context(PostgresServer()).url()
        return self._postgres

    # --- processes ---

    @contextmanager
    def embedded(self, database: Database) -> Iterator[Door]:
        """`cli.py serve`: both doors and the engine in one process."""
        rest, grpc = free_port(), free_port()
        ports = ["--rest-port", str(rest), "--grpc-port", str(grpc)]
        with self.process("serve", "cli.py", "serve", *ports, "--database-url", database.url) as process:
            process.wait_ready(lambda: rest_is_up(f"http://127.0.0.1:{rest}/ping"))
            process.wait_ready(lambda: grpc_is_up(f"127.0.0.1:{grpc}"))
            yield Door(process, rest, grpc)

    @contextmanager
    def grpc(self, database: Database) -> Iterator[Door]:
        """`python -m server`: the gRPC door and an engine."""
        port = free_port()
        with self.process("server", "-m", "server", DATABASE_URL=database.url, GRPC_PORT=str(port)) as process:
            process.wait_ready(lambda: grpc_is_up(f"127.0.0.1:{port}"))
            yield Door(process, 0, port)

    @contextmanager
    def rest(self, database: Database, redis_url: str | None = None) -> Iterator[Door]:
        """`uvicorn api.main:app`, as in the compose file."""
        port = free_port()
        arguments = ["-m", "uvicorn", "api.main:app", "--port", str(port)]
        with self.process("api", *arguments, DATABASE_URL=database.url, REDIS_URL=redis_url) as process:
            process.wait_ready(lambda: rest_is_up(f"http://127.0.0.1:{port}/ping"))
            yield Door(process, port, 0)

    @contextmanager
    def bare(self, module: str, *arguments: str, **settings: str) -> Iterator[int]:
        """`python -m benchmarks.<module> <port> …`: a limit that listens. Its port."""
        port = free_port()
        with self.process(module, "-m", f"benchmarks.{module}", str(port), *arguments, **settings) as process:
            process.wait_ready(lambda: _listens(port))
            yield port

    @contextmanager
    def process(self, name: str, *arguments: str, **settings: str | None) -> Iterator[Process]:
        """A child; what it says is thrown away with the folder."""
        cleared = dict.fromkeys(("DATABASE_URL", "REDIS_URL", "REDIS_HOST", "ENGINE", "LOG_LEVEL"))
        log = self.folder / f"{next(self._names)}-{name}.log"
        with Process(name, arguments, {**cleared, **settings}, log) as process:
            yield process


def resident_mb(pid: int) -> float:
    """Resident memory in MB (Linux)."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096 / 1e6


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, all its threads (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        time.sleep(0.01)
        return False
    return True
