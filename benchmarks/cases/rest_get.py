"""GET of a workflow with ten tasks that is in the response cache, beside servers that only hand out bytes."""

import json
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks import drive, http_load, redis_gets
from benchmarks.measure import Bench, Benchmark, Case, Goal, Sampler

TASKS = 10
CONNECTIONS = 64
HIT = b"HTTP/1.1 200"


async def cases(bench: Bench) -> AsyncIterator[Case]:
    seconds = bench.scale(3_000, 1_500, 100) / 1000

    def sampler(port: int, path: str) -> Sampler:
        async def sample() -> float:
            return http_load.call(http_load.Spec(port, http_load.get(path), HIT, CONNECTIONS, seconds)).rate

        return sample

    servers = bench.servers
    with servers.sqlite() as database:
        path = f"/workflows/{drive.define(database, *['noop'] * TASKS)}"
        with servers.embedded(database) as door:
            body = _body_of_hit(door.rest, path, servers.folder)
            with (
                servers.bare("http_bytes", "fastapi", body) as fastapi,
                servers.bare("http_bytes", "asgi", body) as asgi,
            ):
                yield Case(
                    "GET of a cached workflow, embedded",
                    "answers/s",
                    sampler(door.rest, path),
                    {"FastAPI bytes": sampler(fastapi, path), "bare ASGI": sampler(asgi, path)},
                    Goal("at least", 2.0, "ratio"),
                )
    with servers.postgres() as database:
        path = f"/workflows/{drive.define(database, *['noop'] * TASKS)}"
        url = servers.redis()

        async def gets() -> float:
            return redis_gets.rate(url, CONNECTIONS, seconds)

        with servers.rest(database, url) as door:
            body = _body_of_hit(door.rest, path, servers.folder)
            with servers.bare("http_bytes", "fastapi", body) as fastapi:
                yield Case(
                    "GET of a cached workflow, Redis",
                    "answers/s",
                    sampler(door.rest, path),
                    {"FastAPI bytes": sampler(fastapi, path), "redis-py gets": gets},
                    Goal("at least", 0.8, "ratio"),
                )


def _body_of_hit(port: int, path: str, folder: Path) -> str:
    """Asks until the answer comes from the cache; a file with its body."""
    body, source = _get(port, path)
    while source != "hit":
        body, source = _get(port, path)
    assert len(json.loads(body)["tasks"]) == TASKS
    file = folder / "body"
    file.write_bytes(body)
    return str(file)


def _get(port: int, path: str) -> tuple[bytes, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read(), answer.headers["X-Cache"]


benchmark = Benchmark("rest_get", "REST GET of a cached workflow of ten tasks", cases)
