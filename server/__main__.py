"""`python -m server`: the gRPC door and an engine, until SIGTERM or Ctrl-C; `--workers N` for as many processes."""

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
from engine.errors import ConfigurationError, MillraceError
from server.app import build
from server.fleet import Fleet

log = structlog.get_logger(__name__)


async def serve(settings: Settings, pipe: int | None = None) -> None:
    """Until it is asked to stop, or nobody holds the other end of `pipe` any more.

    Raises `ConfigurationError` or `Unavailable` when it cannot start.
    """
    stopped = asyncio.Event()
    if pipe is not None:
        _when_closed(pipe, stopped)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with open_service(settings, engine=True) as service:
        server = build(service, reflection=settings.grpc_reflection, share_port=settings.grpc_share_port)
        port = server.listen(settings.grpc_host, settings.grpc_port)
        await server.start()
        log.info("grpc_ready", host=settings.grpc_host, port=port)
        await stopped.wait()
        log.info("grpc_stops")
        await server.stop()


def _when_closed(pipe: int, stopped: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def closed() -> None:
        loop.remove_reader(pipe)
        stopped.set()

    loop.add_reader(pipe, closed)


def options(words: Sequence[str]) -> argparse.Namespace:
    """`executor`: where tasks run that name none, if the command says so; `workers`: how many processes;
    `while_open`: a pipe of the process that started this one.
    """
    parser = argparse.ArgumentParser(prog="python -m server", description=__doc__)
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="so many engines behind one port")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--executor", metavar="NAME", help="where tasks run: asyncio, rq or ray; else EXECUTOR")
    choice.add_argument("--use-rq", dest="executor", action="store_const", const="rq", help="on workers of RQ")
    choice.add_argument("--use-ray", dest="executor", action="store_const", const="ray", help="on a Ray cluster")
    parser.add_argument("--while-open", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    if chosen.workers < 1:
        parser.error("--workers is at least 1")
    return chosen


def main() -> None:
    chosen = options(sys.argv[1:])
    try:
        settings = load_settings(executor=chosen.executor)
        configure_logs(settings.log_level, settings.log_format)
        if chosen.workers > 1:
            sys.exit(_fleet(settings, chosen.workers).run())
        uvloop.run(serve(settings, chosen.while_open))
    except MillraceError as error:
        sys.exit(f"millrace: {error.message}")


def _fleet(settings: Settings, workers: int) -> Fleet:
    if settings.database_url.startswith("sqlite"):
        raise ConfigurationError("several engines need a PostgreSQL: set DATABASE_URL, or leave --workers out")
    return Fleet(workers, ("--executor", settings.executor), settings.grpc_host, settings.grpc_port)


if __name__ == "__main__":
    main()
