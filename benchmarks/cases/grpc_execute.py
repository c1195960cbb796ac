"""How many starts the gRPC door takes: each answer is durable, the first task then waits."""

from collections.abc import AsyncIterator
from functools import partial

from benchmarks import drive, grpc_echo, grpc_load
from benchmarks.cases.w4_latency import EXECUTE
from benchmarks.measure import Bench, Benchmark, Case, Goal
from proto.workflow.v1 import workflow_pb2 as pb

CALLERS = 64


async def cases(bench: Bench) -> AsyncIterator[Case]:
    seconds = bench.scale(3_000, 1_500, 100) / 1000
    for database in bench.databases():
        workflow = drive.define(database, "delay", "noop", parameters=b'{"duration_seconds":86400}')
        requests = [pb.ExecuteWorkflowRequest(workflow_id=workflow).SerializeToString()]
        with bench.servers.grpc(database) as door, bench.servers.bare("grpc_echo") as echo:
            execute = grpc_load.Spec(f"127.0.0.1:{door.grpc}", EXECUTE, requests, CALLERS, seconds)
            call = grpc_load.Spec(f"127.0.0.1:{echo}", grpc_echo.METHOD, requests, CALLERS, seconds)
            yield Case(
                f"ExecuteWorkflow, {CALLERS} callers, {database.kind}",
                "calls/s",
                partial(_product, execute),
                {"echo": partial(grpc_load.rate, call)},
                Goal("at least", 0.5, "ratio"),
            )


async def _product(execute: grpc_load.Spec) -> float:
    found = grpc_load.call(execute)
    assert pb.ExecuteWorkflowResponse.FromString(found.answer).execution_id
    return found.rate


benchmark = Benchmark("grpc_execute", "gRPC ExecuteWorkflow to its durable answer", cases)
