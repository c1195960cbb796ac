"""What stands around each executor of the conformance suite. To add an executor, add its rig to `RIGS`."""

import os
import signal
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from engine.task_ports import ExecutorOptions
from tests.conformance.executor_host import HOST, open_host


class Rig:
    """Servers and worker processes; entering starts them, leaving stops them. This one needs none.

    A rig is shared by many tests, each with an executor of its own; a test that kills has one to itself.
    """

    remote: ClassVar[bool] = False
    """Whether calls run in other processes: they outlive their engine and can be killed without it."""
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


RIGS: dict[str, type[Rig]] = {"asyncio_executor": AsyncioRig}
"""By the module in `executors/`."""
