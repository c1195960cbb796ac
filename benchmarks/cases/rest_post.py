"""POST of a workflow: how many definitions a REST door takes."""

from collections.abc import AsyncIterator

from benchmarks import http_load
from benchmarks.measure import Bench, Benchmark, Case, Goal
from benchmarks.servers import Door

CONNECTIONS = 64
REQUEST = http_load.post("/workflows/", b'{"name":"Order processing","description":"From the basket to the door"}')
CREATED = b"HTTP/1.1 201"


async def cases(bench: Bench) -> AsyncIterator[Case]:
    seconds = bench.scale(3_000, 1_500, 100) / 1000

    def case(door: Door, kind: str) -> Case:
        async def product() -> float:
            return http_load.call(http_load.Spec(door.rest, REQUEST, CREATED, CONNECTIONS, seconds)).rate

        return Case(f"POST of a workflow, {kind}", "answers/s", product, goal=Goal("at least", 1_000))

    with bench.servers.sqlite() as database, bench.servers.embedded(database) as door:
        yield case(door, database.kind)
    with bench.servers.postgres() as database, bench.servers.rest(database) as door:
        yield case(door, database.kind)


benchmark = Benchmark("rest_post", "REST POST of a workflow", cases)
