"""`python -m server`: the gRPC door and an engine in one process, until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

import structlog
import uvloop

from bootstrap.logs import configure_logs
from bootstrap.settings import Settings, load_settings
from bootstrap.wiring import open_service
from engine.errors import MillraceError
from server.app import build

log = structlog.get_logger(__name__)


async def serve(settings: Settings) -> None:
    """Raises `ConfigurationError` or `Unavailable` when it cannot start."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with open_service(settings, engine=True) as service:
        server = build(service, reflection=settings.grpc_reflection)
        port = server.listen(settings.grpc_host, settings.grpc_port)
        await server.start()
        log.info("grpc_ready", host=settings.grpc_host, port=port)
        await stopped.wait()
        log.info("grpc_stops")
        await server.stop()


def executor(words: Sequence[str]) -> str | None:
    """Where tasks run that name no executor, if the command says so."""
    parser = argparse.ArgumentParser(prog="python -m server", description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--executor", metavar="NAME", help="where tasks run: asyncio, rq or ray; else EXECUTOR")
    choice.add_argument("--use-rq", dest="executor", action="store_const", const="rq", help="on workers of RQ")
    choice.add_argument("--use-ray", dest="executor", action="store_const", const="ray", help="on a Ray cluster")
    chosen: str | None = parser.parse_args(words).executor
    return chosen


def main() -> None:
    chosen = executor(sys.argv[1:])
    try:
        settings = load_settings(executor=chosen)
        configure_logs(settings.log_level, settings.log_format)
        uvloop.run(serve(settings))
    except MillraceError as error:
        sys.exit(f"millrace: {error.message}")


if __name__ == "__main__":
    main()
