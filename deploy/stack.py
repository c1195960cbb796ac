"""`python -m deploy.stack`: the processes of `docker-compose.yml` without Docker, on real PostgreSQL and Redis.

Uses the servers of DATABASE_URL and REDIS_URL where they are given, else starts its own (data go with it).
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from bootstrap.settings import load_settings
from deploy.health import grpc_is_up, rest_is_up
from deploy.processes import Process
from deploy.servers import PostgresServer, RayNode, RedisServer, free_port
from engine.errors import ConfigurationError

TRIES = 10
"""To start a server again, a second apart."""
Server = PostgresServer | RedisServer | RayNode
Started = TypeVar("Started", bound=Server)


class Stack:
    """Starts on entering: servers, migration, REST doors, gRPC servers with engines, RQ workers. Stops all on leaving.

    One REST door listens on each of `rest_ports`, one gRPC server on each of `grpc_ports`; with `ray`, tasks that name
    no executor run on a Ray node.
    Raises `RuntimeError` with the end of the log of what did not start.
    """

    def __init__(
        self,
        rest_ports: Sequence[int],
        grpc_ports: Sequence[int],
        *,
        workers: int = 0,
        database_url: str | None = None,
        redis_url: str | None = None,
        settings: Mapping[str, str] | None = None,
        ray: bool = False,
    ) -> None:
        self.rest_urls = [f"http://127.0.0.1:{port}" for port in rest_ports]
        self.grpc_targets = [f"127.0.0.1:{port}" for port in grpc_ports]
        self.database_url = database_url or ""
        self.redis_url = redis_url or ""
        self.rest: list[Process] = []
        self.grpc: list[Process] = []
        self.workers: list[Process] = []
        self.servers: list[Server] = []
        """Those that it has started itself."""
        self._worker_names = [f"worker-{number}" for number in range(1, workers + 1)]
        self._settings = dict(settings or {})
        self._ray = ray
        self.logs = Path(tempfile.mkdtemp(prefix="stack-"))
        self._open = ExitStack()

    @property
    def processes(self) -> list[Process]:
        """Our own, REST doors first."""
        return [*self.rest, *self.grpc, *self.workers]

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def _start(self) -> None:
        if not self.database_url:
            self.database_url = self._serve(PostgresServer(port=free_port())).url()
        if not self.redis_url:
            self.redis_url = self._serve(RedisServer()).url()
        if self._ray:
            self._settings |= {"EXECUTOR": "ray", "RAY_ADDRESS": self._serve(RayNode()).address}
        self._migrate()
        waits = [
            *map(self._start_rest, self.rest_urls),
            *map(self._start_grpc, self.grpc_targets),
            *map(self._start_worker, self._worker_names),
        ]
        for process, ready in zip(self.processes, waits, strict=True):
            process.wait_ready(ready)

    def _serve(self, server: Started) -> Started:
        self._open.enter_context(server)
        self.servers.append(server)
        return server

    def _migrate(self) -> None:
        process = self._run("migrate", ["cli.py", "db", "upgrade"])
        if process.wait():
            raise RuntimeError(f"the migration failed:\n{process.tail()}")

    def _start_rest(self, url: str) -> Callable[[], bool]:
        port = url.rpartition(":")[2]
        arguments = ["-m", "uvicorn", "api.main:app", "--host", "127.0.0.1", "--port", port]
        self.rest.append(self._run(f"api-{port}", arguments))
        return lambda: rest_is_up(f"{url}/health")

    def _start_grpc(self, target: str) -> Callable[[], bool]:
        host, _, port = target.rpartition(":")
        self.grpc.append(self._run(f"grpc-{port}", ["-m", "server"], {"GRPC_HOST": host, "GRPC_PORT": port}))
        return lambda: grpc_is_up(target)

    def _start_worker(self, name: str) -> Callable[[], bool]:
        ready = self.logs / f"{name}.ready"
        self.workers.append(self._run(name, ["cli.py", "worker", "--ready-file", str(ready)]))
        return ready.exists

    def _run(self, name: str, arguments: Sequence[str], settings: Mapping[str, str] | None = None) -> Process:
        common = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url, "GRPC_REFLECTION": "true"}
        process = Process(name, arguments, {**common, **self._settings, **(settings or {})}, self.logs / f"{name}.log")
        return self._open.enter_context(process)

    def _close(self) -> None:
        self._open.close()
        shutil.rmtree(self.logs, ignore_errors=True)


def main() -> int:
    """Runs until Ctrl-C. What was killed or asked to end is started again; what fails ends it all, with the reason."""
    parser = argparse.ArgumentParser(prog="python -m deploy.stack", description=__doc__)
    parser.add_argument("--engines", type=int, default=1, metavar="N", help="gRPC servers with an engine (default 1)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="workers of RQ (default 1)")
    parser.add_argument("--ray", action="store_true", help="run tasks on a Ray node")
    asked = parser.parse_args()
    try:
        settings = load_settings()
        ports = range(settings.grpc_port, settings.grpc_port + asked.engines)
        database_url = settings.database_url if settings.database_url.startswith("postgres") else None
        for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: shells start background jobs without it
            signal.signal(number, signal.default_int_handler)
        with Stack(
            [settings.rest_port],
            ports,
            workers=asked.workers,
            database_url=database_url,
            redis_url=settings.redis_url,
            settings={"EXECUTOR": settings.executor},
            ray=asked.ray,
        ) as stack:
            print(f"REST    {stack.rest_urls[0]}  (pages of the API: {stack.rest_urls[0]}/docs)")
            print(f"gRPC    {', '.join(stack.grpc_targets)}")
            print(f"workers {len(stack.workers)} of RQ, for tasks with executor rq (all tasks: EXECUTOR=rq)")
            print(f"store   {stack.database_url.rpartition('@')[2]}\ncache   {stack.redis_url.rpartition('@')[2]}")
            print(f"logs    {stack.logs}\nCtrl-C stops everything.", flush=True)
            return _watch(stack.processes, stack.servers)
    except (ConfigurationError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped")
        return 0


def _start_again(server: Server) -> None:
    """What a killed one left behind may bar the first tries. Raises `RuntimeError`."""
    for _ in range(TRIES - 1):
        with suppress(RuntimeError):
            return server.start()
        time.sleep(1)
    return server.start()


def _watch(processes: Sequence[Process], servers: Sequence[Server]) -> int:
    while True:
        for server in servers:
            if not server.alive:
                print(f"{server.name} was ended, and is started again", flush=True)
                _start_again(server)
        for process in processes:
            if process.alive:
                continue
            if process.wait() > 0:
                print(f"{process.name} ended:\n{process.tail()}", file=sys.stderr)
                return 1
            print(f"{process.name} was ended, and is started again", flush=True)
            process.start()
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
