"""The gRPC door: the service's methods, health, and, for development, reflection, on one grpc.aio server."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2

from engine.errors import ConfigurationError
from engine.service import WorkflowService
from proto.workflow.v1 import workflow_pb2 as pb
from server.approvals import ApprovalServicer
from server.health import HealthServicer
from server.interceptors import MESSAGE_LIMIT, Handler, Streams, streaming, unary
from server.servicer import WorkflowServicer

WORKFLOW = pb.DESCRIPTOR.services_by_name["WorkflowService"].full_name
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
GRACE = 5.0
"""Seconds that calls in flight have when the server stops."""
ANSWERS = 0.8
"""The part of them after which a call that waits is told to come again."""

OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
)


class Server:
    """A grpc.aio server that ends its streams when it stops."""

    def __init__(self, server: grpc.aio.Server, streams: Streams) -> None:
        self._server = server
        self._streams = streams

    def listen(self, host: str, port: int) -> int:
        """Before the start: binds, and answers the port (0 takes a free one). Raises `ConfigurationError`."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError:
            raise ConfigurationError(
                f"cannot listen on {address}: is another process there? Choose another with GRPC_PORT or --grpc-port"
            ) from None

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float = GRACE) -> None:
        """Takes no new call, ends streams with UNAVAILABLE, gives the others `grace` seconds."""
        self._streams.close()
        stopped = asyncio.ensure_future(self._server.stop(grace))
        await asyncio.wait([stopped], timeout=grace * ANSWERS)
        self._streams.expire()
        await stopped


def build(service: WorkflowService, *, reflection: bool = False, share_port: bool = False) -> Server:
    """The door to `service`, not listening yet.

    Without `share_port` a second server on the same port is a mistake, not a helper.
    """
    streams = Streams()
    server = grpc.aio.server(options=(*OPTIONS, ("grpc.so_reuseport", int(share_port))))
    server.add_registered_method_handlers(WORKFLOW, _workflow_handlers(service, streams))
    server.add_registered_method_handlers(
        HEALTH, _health_handlers(HealthServicer(service, (WORKFLOW,), streams), streams)
    )
    if reflection:
        _enable_reflection(server)
    return Server(server, streams)


def _enable_reflection(server: grpc.aio.Server) -> None:
    from grpc_reflection.v1alpha import reflection  # noqa: PLC0415 - 40 ms that only development pays

    reflection.enable_server_reflection((WORKFLOW, HEALTH, reflection.SERVICE_NAME), server)


def _workflow_handlers(service: WorkflowService, streams: Streams) -> dict[str, Handler]:
    servicer, approvals = WorkflowServicer(service), ApprovalServicer(service)
    return {
        "ExecuteWorkflow": unary(pb.ExecuteWorkflowRequest, servicer.execute_workflow, streams),
        "GetWorkflowStatus": unary(pb.GetWorkflowStatusRequest, servicer.get_workflow_status, streams),
        "CancelExecution": unary(pb.CancelExecutionRequest, servicer.cancel_execution, streams),
        "SignalExecution": unary(pb.SignalExecutionRequest, servicer.signal_execution, streams),
        "WatchExecution": streaming(pb.WatchExecutionRequest, servicer.watch_execution, streams),
        "ListExecutions": unary(pb.ListExecutionsRequest, servicer.list_executions, streams),
        "ListApprovals": unary(pb.ListApprovalsRequest, approvals.list_approvals, streams),
        "DecideApproval": unary(pb.DecideApprovalRequest, approvals.decide_approval, streams),
        "EmitEvent": unary(pb.EmitEventRequest, servicer.emit_event, streams),
    }


def _health_handlers(servicer: HealthServicer, streams: Streams) -> dict[str, Handler]:
    return {
        "Check": unary(health_pb2.HealthCheckRequest, servicer.check, streams),
        "Watch": streaming(health_pb2.HealthCheckRequest, servicer.watch, streams),
    }
