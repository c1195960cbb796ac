"""W4: one caller, one task: from the call to seeing it complete."""

import statistics
from collections.abc import AsyncIterator
from functools import partial

from benchmarks import bare, drive, grpc_echo, grpc_load
from benchmarks.bare import Bare
from benchmarks.measure import Bench, Benchmark, Case, Goal
from proto.workflow.v1 import workflow_pb2 as pb

EXECUTE = "/workflow.v1.WorkflowService/ExecuteWorkflow"


async def cases(bench: Bench) -> AsyncIterator[Case]:
    seconds = bench.scale(3_000, 1_000, 50) / 1000
    servers = bench.servers
    for database, empty in zip(bench.databases(), bench.databases(), strict=True):
        workflow = drive.define(database, "noop")
        request = pb.ExecuteWorkflowRequest(workflow_id=workflow, wait_seconds=10).SerializeToString()
        with servers.grpc(database) as door, servers.bare("grpc_echo") as echo, bare.journal(empty) as journal:
            execute = grpc_load.Spec(f"127.0.0.1:{door.grpc}", EXECUTE, [request], 1, seconds)
            call = grpc_load.Spec(f"127.0.0.1:{echo}", grpc_echo.METHOD, [request], 1, seconds)
            yield Case(
                f"ExecuteWorkflow of one task until complete, p50, {database.kind}",
                "ms",
                partial(_product, execute),
                {"2 bare commits + 1 echo": partial(_limit, journal, call)},
                Goal("at most", 2.0),
            )


async def _product(execute: grpc_load.Spec) -> float:
    found = grpc_load.call(execute)
    assert pb.ExecuteWorkflowResponse.FromString(found.answer).status == "completed"
    return found.p50


async def _limit(journal: Bare, call: grpc_load.Spec) -> float:
    commit = statistics.median(bare.one_by_one(journal, 1) for _ in range(int(call.seconds * 200) + 1))
    return 2 * commit + grpc_load.call(call).p50


benchmark = Benchmark("w4", "gRPC ExecuteWorkflow of one task, seen complete", cases)
