"""Millrace's own processes as children: started on given settings, watched until they answer, stopped or killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.servers import tail

ROOT = Path(__file__).resolve().parent.parent


class Process:
    """`python <arguments>` from the repository root; what it says goes to `log`.

    `settings` are environment variables on top of ours; a variable that is None is taken away.
    """

    def __init__(self, name: str, arguments: Sequence[str], settings: Mapping[str, str | None], log: Path) -> None:
        self.name = name
        self.log = log
        self._arguments = arguments
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running (or last) process."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Does not wait; see `wait_ready`."""
        environment = {k: v for k, v in {**os.environ, **self._settings}.items() if v is not None}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment,
                start_new_session=True,
            )

    def wait_ready(self, ready: Callable[[], bool], seconds: float = 30.0) -> None:
        """Returns when `ready()`. Raises `RuntimeError` with the end of its log if it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} {'did not get ready' if self.alive else 'ended'}:\n{self.tail()}")
            time.sleep(0.02)

    def wait(self, seconds: float = 60.0) -> int:
        """Its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def send(self, with_signal: signal.Signals) -> None:
        """SIGSTOP and SIGCONT make a zombie of it."""
        if self.alive:
            os.kill(self.pid, with_signal)

    def kill(self) -> None:
        """`kill -9`: nothing is written, nothing is said. Returns when it is gone."""
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def stop(self, seconds: float = 10.0) -> int | None:
        """Asks it to end (SIGTERM), kills it after `seconds`. Its exit code, None if it never ran."""
        if self._process is None:
            return None
        self.send(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def tail(self, lines: int = 30) -> str:
        """The end of its log."""
        return tail(self.log, lines)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
