"""`serve`: both doors and an engine in one process and one loop, until SIGTERM or Ctrl-C."""

import asyncio
import os
import signal
import socket
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import structlog
import uvicorn
import uvloop

import api.app
import server.app
from bootstrap.logs import configure_logs
from bootstrap.settings import Settings
from bootstrap.wiring import open_service
from commands.output import say, say_json, write_ready
from engine.errors import ConfigurationError

GRACE = 5
"""Seconds that calls in flight have when it stops."""

log = structlog.get_logger(__name__)


def serve(settings: Settings, ready_file: Path | None, as_json: bool) -> None:
    """Raises `ConfigurationError` or `Unavailable` when it cannot start."""
    configure_logs(settings.log_level, settings.log_format)
    uvloop.run(_serve(settings, ready_file, as_json))


async def _serve(settings: Settings, ready_file: Path | None, as_json: bool) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    with _bound(settings.rest_host, settings.rest_port) as rest_socket:
        async with open_service(settings, engine=True) as service:
            grpc_door = server.app.build(service, reflection=settings.grpc_reflection)
            grpc_port = grpc_door.listen(settings.grpc_host, settings.grpc_port)
            rest_door = _RestDoor(_rest_config(api.app.build(service)))
            await grpc_door.start()
            serving = asyncio.create_task(rest_door.serve(sockets=[rest_socket]))
            await _started(rest_door, serving)
            _announce(settings, rest_socket.getsockname()[1], grpc_port, ready_file, as_json)
            await stopped.wait()
            log.info("stopping")
            rest_door.should_exit = True
            await asyncio.gather(grpc_door.stop(GRACE), serving)


class _RestDoor(uvicorn.Server):
    """Leaves the signals to us: both doors stop together, then the engine."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def _rest_config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); "
            "is another process there? Choose another with REST_PORT or --rest-port"
        ) from None


async def _started(door: _RestDoor, serving: "asyncio.Task[None]") -> None:
    while not door.started:
        if serving.done():
            await serving
            raise ConfigurationError("the REST door did not start; the log says why")
        await asyncio.sleep(0.005)


def _announce(settings: Settings, rest_port: int, grpc_port: int, ready_file: Path | None, as_json: bool) -> None:
    """The addresses that clients on this machine can use."""
    rest = f"http://{_reachable(settings.rest_host)}:{rest_port}"
    grpc = f"{_reachable(settings.grpc_host)}:{grpc_port}"
    ready = {"rest": rest, "grpc": grpc, "pid": os.getpid()}
    if as_json:
        say_json(ready)
    else:
        say(f"REST  {rest}  (documentation: {rest}/docs)")
        say(f"gRPC  {grpc}")
    write_ready(ready_file, ready)


def _reachable(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{host}]" if ":" in host else host
