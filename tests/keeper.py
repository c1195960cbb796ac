"""`python -m tests.keeper <postgres|redis|ray> <folder>`: holds one server for a whole test run.

The first test that needs a server starts its keeper; it ends with the run, however that ends: the kernel closes
the pipe `<folder>/run` that the run's first process holds open. What tests of a killed run left running goes too.
"""

import os
import select
import shutil
import signal
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

from deploy.servers import PostgresServer, RayNode, RedisServer

# a crash of the machine is none of the things that tests can see
FAST = {"fsync": "off", "full_page_writes": "off"}


def keep(kind: str, folder: Path) -> None:
    """Writes the server's address to `<folder>/<kind>`, then waits for the run to end."""
    with ExitStack() as stack:
        address = folder / f"{kind}.new"
        address.write_text(_start(kind, stack))
        address.rename(folder / kind)
        _wait_for_end(folder / "run")
    _kill_leftovers(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _start(kind: str, stack: ExitStack) -> str:
    match kind:
        case "postgres":
            return stack.enter_context(PostgresServer(settings=FAST)).url()
        case "redis":
            return stack.enter_context(RedisServer()).url()
        case "ray":
            return stack.enter_context(RayNode()).address
        case _:
            raise ValueError(f"nobody keeps {kind}")


def _wait_for_end(pipe: Path) -> None:
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    while True:
        try:
            if not os.read(descriptor, 1):
                return
        except BlockingIOError:
            select.select([descriptor], [], [])


def _kill_leftovers(folder: Path) -> None:
    """Processes that inherited the name of this run; the other keepers end by themselves (Linux only)."""
    mark = f"={folder}\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            keeper = b"tests.keeper" in (process / "cmdline").read_bytes()
            if mark in (process / "environ").read_bytes() and not keeper:
                os.kill(int(process.name), signal.SIGKILL)


if __name__ == "__main__":
    keep(sys.argv[1], Path(sys.argv[2]))
