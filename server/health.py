"""`grpc.health.v1.Health`: what the service says of itself, asked at each check, never remembered."""

import asyncio
from collections.abc import AsyncGenerator

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from engine.errors import NotFound
from engine.service import WorkflowService
from server.interceptors import Context, Streams

WATCH_SECONDS = 1.0
"""Between two looks for a watcher."""


class HealthServicer:
    """Knows `""` (the process) and the services named; a stopping server does not serve."""

    def __init__(self, service: WorkflowService, names: tuple[str, ...], streams: Streams) -> None:
        self._service = service
        self._names = ("", *names)
        self._streams = streams

    async def check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        if request.service not in self._names:
            raise NotFound(f"there is no service {request.service!r} here")
        return HealthCheckResponse(status=await self._status())

    async def watch(self, request: HealthCheckRequest, context: Context) -> AsyncGenerator[HealthCheckResponse, None]:
        """As the protocol has it: the status now, and again whenever it changes; an unknown name is no error."""
        last = None
        while True:
            known = request.service in self._names
            status = await self._status() if known else HealthCheckResponse.SERVICE_UNKNOWN
            if status != last:
                yield HealthCheckResponse(status=status)
                last = status
            await asyncio.sleep(WATCH_SECONDS)

    async def _status(self) -> HealthCheckResponse.ServingStatus:
        ok = not self._streams.closing and (await self._service.health()).ok
        return HealthCheckResponse.SERVING if ok else HealthCheckResponse.NOT_SERVING
