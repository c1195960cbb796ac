"""`python -m server --workers N`: as many engines, each in a process of its own, behind one port.

The kernel spreads new connections over them. One that dies is started again; one that cannot start ends them all.
When this process dies they stop too: nobody would start them again, and they would share the port of the next ones.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import structlog

from engine.errors import ConfigurationError

log = structlog.get_logger(__name__)

LOOK = 0.2
"""Seconds between two looks at the processes."""
YOUNG = 30.0
"""Seconds within which an end means that it cannot start at all: several that start at once take a while."""
PATIENCE = 60.0
"""Seconds that they have to stop: more than the grace of their calls and tasks."""


class Fleet:
    """`count` processes of `python -m server`, with these arguments, on one host and port."""

    def __init__(self, count: int, arguments: Sequence[str], host: str, port: int) -> None:
        self._count = count
        self._arguments = arguments
        self._host = host
        self._port = port
        self._processes: list[tuple[subprocess.Popen[bytes], float]] = []
        self._stopping = False
        self._heard, self._held = os.pipe()

    def run(self) -> int:
        """Until SIGTERM or Ctrl-C; the exit code. Raises `ConfigurationError` when the port is taken."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        with _reserved(self._host, self._port) as place:
            self._port = place.getsockname()[1]
            self._processes = [self._start() for _ in range(self._count)]
            while not self._stopping:
                if not self._revive():
                    self._stop()
                    return 1
                time.sleep(LOOK)
            return self._stop()

    def _ask_to_stop(self, *_: object) -> None:
        self._stopping = True

    def _start(self) -> tuple[subprocess.Popen[bytes], float]:
        settings = {"GRPC_PORT": str(self._port), "GRPC_HOST": self._host, "GRPC_SHARE_PORT": "true"}
        command = [sys.executable, "-m", "server", *self._arguments, "--while-open", str(self._heard)]
        process = subprocess.Popen(command, env={**os.environ, **settings}, pass_fds=(self._heard,))
        return process, time.monotonic()

    def _revive(self) -> bool:
        """False when one ended that had hardly begun."""
        for place, (process, since) in enumerate(self._processes):
            code = process.poll()
            if code is None:
                continue
            if code > 0 and time.monotonic() - since < YOUNG:
                return False
            log.warning("engine process ended; it is started again", pid=process.pid, code=code)
            self._processes[place] = self._start()
        return True

    def _stop(self) -> int:
        """All at once, so that their callers look elsewhere at once. 0 if each stopped well."""
        for process, _ in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        for process, _ in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return 0 if all(process.returncode == 0 for process, _ in self._processes) else 1


def _reserved(host: str, port: int) -> socket.socket:
    """A socket that holds the port and does not listen, so that it stays ours while a process is started again."""
    place = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        place.bind((host, port))
    except OSError as error:
        place.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); "
            "is another process there? Choose another with GRPC_PORT"
        ) from None
    return place
