"""What really ran: a server of its own that writes one fsynced line per effect, whatever becomes of the caller.

A task calls `<ledger>/<anything>`; its `Idempotency-Key` says which task of which execution it is. A JSON body may
add `attempt` and `lease`. `?delay=seconds` answers later (the effect is written at once), `?fail=n` answers 503 to
the first n calls of a key. Ports are used again: what calls without this ledger's own name meant one that is gone.

`python -m tests.ledger <file> <port> <name>` runs the server.
"""

import asyncio
import os
import secrets
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web

from deploy.health import rest_is_up
from deploy.processes import Process
from deploy.servers import free_port

Make = Callable[[str, Sequence[str], Mapping[str, str | None], Path], Process]
"""How a child process is made: name, arguments, environment, log."""


class Effect(msgspec.Struct, frozen=True):
    """One call that arrived. `time` is epoch seconds of this machine, taken before it was written."""

    execution: int
    task: str
    iteration: str
    attempt: int | None
    lease: int | None
    key: str
    time: float


class Ledger:
    """Starts the server on entering; reads what it wrote into `folder`."""

    def __init__(self, folder: Path, make: Make = Process) -> None:
        self._file = folder / "effects.jsonl"
        port, name = free_port(), secrets.token_hex(8)
        self.url = f"http://127.0.0.1:{port}/{name}"
        log = self._file.with_suffix(".log")
        self._process = make("ledger", ["-m", "tests.ledger", str(self._file), str(port), name], {}, log)

    def effects(self) -> list[Effect]:
        """In the order in which they were written."""
        lines = self._file.read_bytes().splitlines() if self._file.exists() else []
        return [msgspec.json.decode(line, type=Effect) for line in lines]

    def by_task(self) -> dict[tuple[int, str, str], list[Effect]]:
        """By (execution, task, iteration); more than one where a task began again."""
        found: dict[tuple[int, str, str], list[Effect]] = defaultdict(list)
        for effect in self.effects():
            found[effect.execution, effect.task, effect.iteration].append(effect)
        return dict(found)

    def __enter__(self) -> Self:
        self._process.start()
        self._process.wait_ready(lambda: rest_is_up(f"{self.url}/ping"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.stop()


class _Writer:
    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._calls: Counter[str] = Counter()

    async def take(self, request: web.Request) -> web.Response:
        if request.match_info["path"] == "ping":
            return web.Response()
        now = time.time()
        key = request.headers.get("Idempotency-Key", "")
        body = await _json_body(request)
        execution, _, rest = key.partition("/")
        task, _, iteration = rest.rpartition("/")
        effect = Effect(int(execution or 0), task, iteration, body.get("attempt"), body.get("lease"), key, now)
        os.write(self._descriptor, msgspec.json.encode(effect) + b"\n")
        os.fsync(self._descriptor)
        self._calls[key] += 1
        await asyncio.sleep(float(request.query.get("delay", 0)))
        failed = self._calls[key] <= int(request.query.get("fail", 0))
        return web.json_response({"calls": self._calls[key], "at": now}, status=503 if failed else 200)


async def _json_body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def main(file: Path, port: int, name: str) -> None:
    """Serves until it is told to stop."""
    application = web.Application()
    application.router.add_route("*", f"/{name}/{{path:.*}}", _Writer(file).take)
    web.run_app(application, host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
