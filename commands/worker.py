"""`worker`: runs the tasks of engines that use RQ, until SIGTERM or Ctrl-C; then lets them end, or gives them back."""

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import structlog
import uvloop

from bootstrap.logs import configure_logs
from bootstrap.settings import Settings
from bootstrap.tasks import open_host
from commands.output import write_ready
from engine import registry

log = structlog.get_logger(__name__)


def work(settings: Settings, ready_file: Path | None) -> None:
    """Raises `ConfigurationError` or `Unavailable` when it cannot begin."""
    configure_logs(settings.log_level, settings.log_format)
    uvloop.run(_work(settings, ready_file))


async def _work(settings: Settings, ready_file: Path | None) -> None:
    worker = registry.load("executors", "rq_executor", "open_worker")(
        redis_url=settings.redis_url,
        installation=settings.installation,
        concurrency=settings.worker_concurrency,
        threads=settings.blocking_threads,
        life=settings.lease_seconds,
        grace=settings.stop_seconds,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, worker.stop)
    await worker.run(open_host, partial(_ready, worker.name, settings, ready_file))


def _ready(name: str, settings: Settings, ready_file: Path | None) -> None:
    log.info("worker ready", name=name, queue=settings.installation, concurrency=settings.worker_concurrency)
    write_ready(ready_file, {"name": name, "pid": os.getpid()})
