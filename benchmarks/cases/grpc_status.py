"""How many callers can ask how their execution stands: live ones are read from the journal, ended ones are known."""

import time
from collections.abc import AsyncIterator
from functools import partial

import grpc

from benchmarks import drive, grpc_echo, grpc_load
from benchmarks.measure import Bench, Benchmark, Case, Goal
from proto.workflow.v1 import workflow_pb2 as pb
from proto.workflow.v1 import workflow_pb2_grpc as pb_grpc

STATUS = "/workflow.v1.WorkflowService/GetWorkflowStatus"
CALLERS = 64
GOALS = {"waiting": 1 / 3, "completed": 1 / 2}


async def cases(bench: Bench) -> AsyncIterator[Case]:
    seconds = bench.scale(3_000, 1_500, 100) / 1000
    for database in bench.databases():
        workflows = {
            "waiting": drive.define(database, "noop", "noop", "delay", parameters=b'{"duration_seconds":86400}'),
            "completed": drive.define(database, "noop", "noop", "noop"),
        }
        with bench.servers.grpc(database) as door, bench.servers.bare("grpc_echo") as echo:
            for status, workflow in workflows.items():
                requests = [_started(door.grpc, workflow, status) for _ in range(CALLERS)]
                ask = grpc_load.Spec(f"127.0.0.1:{door.grpc}", STATUS, requests, CALLERS, seconds)
                call = grpc_load.Spec(f"127.0.0.1:{echo}", grpc_echo.METHOD, requests, CALLERS, seconds)
                yield Case(
                    f"GetWorkflowStatus, {status}, {CALLERS} callers, {database.kind}",
                    "calls/s",
                    partial(_product, ask, status),
                    {"echo": partial(grpc_load.rate, call)},
                    Goal("at least", GOALS[status], "ratio"),
                )


async def _product(ask: grpc_load.Spec, status: str) -> float:
    found = grpc_load.call(ask)
    assert pb.WorkflowStatusResponse.FromString(found.answer).status == status
    return found.rate


def _started(port: int, workflow: int, status: str) -> bytes:
    """The request for an execution of this workflow that has reached `status`."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.WorkflowServiceStub(channel)
        number = stub.ExecuteWorkflow(pb.ExecuteWorkflowRequest(workflow_id=workflow)).execution_id
        request = pb.GetWorkflowStatusRequest(execution_id=number)
        while stub.GetWorkflowStatus(request).status != status:
            time.sleep(0.005)
    return request.SerializeToString()


benchmark = Benchmark("grpc_status", "gRPC GetWorkflowStatus of executions of three tasks", cases)
