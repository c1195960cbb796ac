"""`python -m tests.conformance.rq_worker <redis url> <installation> <ready file>`: runs the suite's handlers."""

import asyncio
import signal
import sys
from pathlib import Path

from executors._rq_worker import Worker, WorkerOptions
from tests.conformance.executor_host import open_host


async def main(redis_url: str, installation: str, ready: Path) -> None:
    worker = Worker(WorkerOptions(redis_url, installation, concurrency=32, threads=4, life=1.0, grace=2.0))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run(open_host, ready.touch)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
