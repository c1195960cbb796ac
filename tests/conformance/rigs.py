"""What stands around each executor of the conformance suite. To add an executor, add its rig to `RIGS`."""

import os
import signal
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Self

from deploy.processes import Process
from engine.task_ports import ExecutorOptions
from tests import servers
from tests.conformance.executor_host import HOST, open_host


class Rig:
    """Servers and worker processes; entering starts them, leaving stops them. This one needs none.

    A rig is shared by many tests, each with an executor of its own; a test that kills has one to itself.
    """

    remote: ClassVar[bool] = False
    """Whether calls run in other processes: they outlive their engine and can be killed without it."""
    lasting: ClassVar[bool] = False
    """Whether one executor serves all tests that do not break it, because it takes seconds to start."""
    library: ClassVar[str | None] = None
    """The Python package that the executor needs."""
    unreachable: ClassVar[Mapping[str, Any] | None] = None
    """The options that name a server that is not there."""
    cure: ClassVar[str] = ""
    """A word that the message about an unreachable server says."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def options(self, **changes: Any) -> ExecutorOptions:
        """Of one engine; those of several engines find each other's calls."""
        return ExecutorOptions(HOST, open_host, threads=4)._replace(**changes)

    def kill(self, pid: int) -> None:
        """Ends the process that runs a call, as the kernel does when memory is short."""
        os.kill(pid, signal.SIGKILL)


class AsyncioRig(Rig):
    """In this process."""


class RQRig(Rig):
    """Workers on the run's Redis, or on one that a test may harm."""

    remote = True
    library = "rq"
    unreachable = {"redis_url": "redis://:secret@127.0.0.1:1/0"}
    cure = "REDIS_URL"

    def __init__(self, redis_url: str | None = None, workers: int = 2) -> None:
        self._redis_url = redis_url or servers.redis_server()
        self.installation = f"test_{uuid.uuid4().hex[:8]}"
        self.workers: list[Process] = []
        self._count = workers
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for number in range(self._count):
                self.workers.append(stack.enter_context(self.worker(folder, number)))
            for number, worker in enumerate(self.workers):
                worker.wait_ready((folder / f"ready{number}").exists)
            self._open = stack.pop_all()
        return self

    def worker(self, folder: Path, number: int) -> Process:
        """Not started yet."""
        ready = folder / f"ready{number}"
        command = ["-m", "tests.conformance.rq_worker", self._redis_url, self.installation, str(ready)]
        return Process("worker", command, {}, folder / f"{number}.log")

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def options(self, **changes: Any) -> ExecutorOptions:
        return super().options(**{"redis_url": self._redis_url, "installation": self.installation, **changes})


class RayRig(Rig):
    """An installation of its own on the run's Ray."""

    remote = True
    lasting = True
    unreachable = {"ray_address": "127.0.0.1:1"}
    cure = "ray start"

    def __init__(self) -> None:
        self._installation = uuid.uuid4().hex

    def options(self, **changes: Any) -> ExecutorOptions:
        known = {"ray_address": servers.ray_head(), "installation": self._installation}
        return super().options(**{**known, **changes})


RIGS: dict[str, type[Rig]] = {"asyncio_executor": AsyncioRig, "rq_executor": RQRig, "ray_executor": RayRig}
"""By the module in `executors/`."""
