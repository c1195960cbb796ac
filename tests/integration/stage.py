"""A server whose tasks run on every executor, and the web service, models, stores and channels that they call."""

import json
import re
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import redis

from bootstrap.vault import new_key
from deploy.processes import ROOT, Process
from deploy.servers import run_sql
from tests import servers
from tests.acceptance.serving import Served, serving
from tests.integration.node_rows import PATIENCE, Config, World
from tests.s3_server import s3_server

EXECUTORS = ("asyncio", "rq", "ray")
INPUT = {"n": 2}


class _Site(ThreadingHTTPServer):
    """Speaks as a web service, a model and an object store: at once, never below `/slow`, at the second call below
    `/flaky`; below `/echo` and `/deny` it says what it was sent.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.over = threading.Event()
        self.heard: list[str] = []
        """What was sent to those who tell it again."""
        self.waiting = 0
        """Callers of what never answers, who are still there."""
        self._asked: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def count(self, change: int) -> None:
        with self._lock:
            self.waiting += change

    def is_first(self, path: str, key: str) -> bool:
        with self._lock:
            self._asked[path, key] += 1
            return self._asked[path, key] == 1


class _Handler(BaseHTTPRequestHandler):
    server: _Site

    def _answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.path.startswith("/slow"):
            self._wait()
            return
        key = self.headers.get("Idempotency-Key", "")
        again = self.path.startswith("/flaky") and self.server.is_first(self.path, key)
        told = (
            f"you sent {dict(self.headers)} and {sent} to {self.path}"
            if self.path.startswith(("/echo", "/deny"))
            else ""
        )
        self.server.heard.append(told)
        body = json.dumps(_reply(self.path, told)).encode()
        self.send_response(503 if again else 401 if self.path.startswith("/deny") else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _wait(self) -> None:
        """Until the caller goes away."""
        self.close_connection = True
        self.server.count(1)
        while not self.server.over.is_set():
            if select.select([self.connection], [], [], 0.05)[0] and not self.connection.recv(1):
                break
        self.server.count(-1)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 — the library's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing to say."""


def _reply(path: str, told: str) -> Any:
    if path.startswith("/deny"):
        return {"error": {"message": told}}
    if not path.endswith("/chat/completions"):
        return {"path": path, "told": told}
    usage = {"prompt_tokens": 3, "completion_tokens": 1}
    return {"choices": [{"message": {"role": "assistant", "content": told or "Hello"}}], "usage": usage}


@contextmanager
def _site() -> Iterator[_Site]:
    with _Site() as site:
        thread = threading.Thread(target=site.serve_forever, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            site.over.set()
            site.shutdown()
            thread.join()


class Stage(NamedTuple):
    """A server whose tasks run wherever they ask, and what they call."""

    served: Served
    world: World
    site: _Site
    folder: Path
    """Its database and logs."""
    redis_url: str

    def left_alone(self) -> None:
        """Returns when nobody waits for the site any more: what was stopped is really stopped, wherever it ran."""
        deadline = time.monotonic() + PATIENCE
        while self.site.waiting:
            assert time.monotonic() < deadline, f"{self.site.waiting} calls go on"
            time.sleep(0.02)

    def reached(self, calls: int) -> None:
        """Returns when as many calls wait for the site."""
        deadline = time.monotonic() + PATIENCE
        while self.site.waiting < calls:
            assert time.monotonic() < deadline, f"{self.site.waiting} calls wait"
            time.sleep(0.02)

    def run(self, place: str, tasks: dict[str, Config], more: Config | None = None, **fields: Any) -> int:
        """The id of a new execution of these tasks, which do not mind each other; `more` is added to its input."""
        workflow = self.served.workflow(**fields)
        for key, own in tasks.items():
            common = {"name": key, "key": key, "executor": place, "execution_type": "async"}
            self.served.rest("POST", f"/workflows/{workflow}/tasks/", common | own)
        started = self.served.rest("POST", f"/workflows/{workflow}/execute", {"input": INPUT | (more or {})})
        return int(started["id"])

    def seen(self, execution: int, until: Callable[[Any], bool]) -> Any:
        """How it stands, once that is so."""
        deadline = time.monotonic() + PATIENCE
        while not until(found := self.served.rest("GET", f"/executions/{execution}")):
            assert time.monotonic() < deadline, [
                (task["key"], task["status"], task["error"]) for task in found["tasks"]
            ]
            time.sleep(0.05)
        return found

    def ended(self, execution: int) -> dict[str, Any]:
        """Its tasks by key, when it has ended."""
        found = self.seen(execution, lambda seen: seen["completed_at"] is not None)
        return {task["key"]: task for task in found["tasks"] if not task["iteration"]}


def shown_node() -> str:
    """The node type that the documentation shows: one file."""
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/nodes.md").read_text(), re.DOTALL)
    return str(source)


@contextmanager
def open_stage(folder: Path) -> Iterator[Stage]:
    """Ready."""
    with ExitStack() as stack:
        here, s3 = stack.enter_context(_site()), stack.enter_context(s3_server())
        site = f"http://127.0.0.1:{here.server_port}"
        database = stack.enter_context(servers.database())
        run_sql(database, *(f"CREATE SEQUENCE tries_{place}" for place in EXECUTORS))
        connections: dict[str, Config] = {
            "db": {"kind": "sql", "url": database},
            "files": s3.settings(),
            "models": {"kind": "llm", "base_url": f"{site}/v1", "prices": {"m": {"input": 30, "output": 60}}},
            "hook": {"kind": "webhook", "url": f"{site}/hook"},
        }
        for mood in ("slow", "flaky", "echo", "deny"):
            connections |= {
                f"{mood}_files": s3.settings(endpoint=f"{site}/{mood}"),
                f"{mood}_models": {"kind": "llm", "base_url": f"{site}/{mood}/v1"},
                f"{mood}_hook": {"kind": "webhook", "url": f"{site}/{mood}/hook"},
            }
        (folder / "nodes").mkdir()
        (folder / "nodes" / "shout.py").write_text(shown_node())
        redis_url = servers.redis_server()
        servers.flush(redis_url)
        settings = {
            "CONNECTIONS": json.dumps(connections),
            "REDIS_URL": redis_url,
            "RAY_ADDRESS": servers.ray_head(),
            "LOG_LEVEL": "info",
            "SECRET_KEYS": new_key("k1"),
            "NODES_DIR": str(folder / "nodes"),
            "STOP_SECONDS": "0.2",
        }
        stack.enter_context(Process("worker", ["cli.py", "worker"], settings, folder / "worker.log"))
        served = stack.enter_context(serving(folder, **settings))
        served.workflow({"key": "out", "type": "set", "parameters": {"n": "{{input.n}}"}}, key="rows-child")
        served.workflow({"key": "out", "parameters": {"duration": 600}}, key="rows-slow")
        yield Stage(served, World(site), here, folder, redis_url)


@contextmanager
def overheard(url: str) -> Iterator[list[str]]:
    """Everything that is said to this database of a Redis; other tests may have others."""
    said: list[str] = []
    with redis.Redis.from_url(url) as client, client.monitor() as monitor:
        mine = client.connection_pool.connection_kwargs.get("db", 0)

        def listen() -> None:
            while "that is all" not in (heard := monitor.next_command())["command"]:
                if heard["db"] == mine:
                    said.append(str(heard["command"]))

        thread = threading.Thread(target=listen)
        thread.start()
        yield said
        client.echo("that is all")
        thread.join()
