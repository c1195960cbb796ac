"""From nothing to the first completed execution: seconds, and the memory that is then in use."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from benchmarks.measure import Bench, Benchmark, Case, Goal
from benchmarks.servers import Servers, resident_mb
from deploy.servers import free_port

IMPORTS = "import sys, grpc.aio, fastapi, sqlmodel, uvicorn; print(flush=True); sys.stdin.read()"


class Start(NamedTuple):
    """What it took."""

    seconds: float
    megabytes: float


async def cases(bench: Bench) -> AsyncIterator[Case]:
    async def seconds() -> float:
        return _serve(bench.servers).seconds

    async def megabytes() -> float:
        return _serve(bench.servers).megabytes

    async def imports() -> float:
        return _import().seconds

    async def imported() -> float:
        return _import().megabytes

    limit = "imports of the libraries"
    yield Case("serve to its first completed execution", "s", seconds, {limit: imports}, Goal("at most", 2.0))
    yield Case("resident memory after it", "MB", megabytes, {limit: imported}, Goal("at most", 150.0), warm=False)


def _serve(servers: Servers) -> Start:
    folder = servers.new_folder()
    rest = free_port()
    ports = ["--rest-port", str(rest), "--grpc-port", str(free_port())]
    began = time.perf_counter()
    with servers.process("serve", "cli.py", "serve", *ports, "--database-url", f"sqlite:///{folder}/new.db") as process:
        process.wait_ready(lambda: _asks(rest))
        workflow = _post(rest, "/workflows/", {"name": "first"})["id"]
        _post(rest, f"/workflows/{workflow}/tasks/", {"name": "only"})
        status = _post(rest, f"/workflows/{workflow}/execute?wait=10", {})["status"]
        assert status == "completed", status
        return Start(time.perf_counter() - began, resident_mb(process.pid))


def _import() -> Start:
    began = time.perf_counter()
    command = [sys.executable, "-c", IMPORTS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = Start(time.perf_counter() - began, resident_mb(process.pid))
        process.communicate()
    return found


def _asks(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _post(port: int, path: str, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


benchmark = Benchmark("cold_start", "embedded, on an empty folder", cases)
