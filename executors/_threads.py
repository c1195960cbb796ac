"""Threads for blocking handlers. They are daemons: one that never returns does not keep the process from ending."""

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Job(Generic[T]):
    """Work that waits for a thread, runs in it, or is done."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._future: Future[T] = Future()
        self._answer = asyncio.wrap_future(self._future)
        self.begun = asyncio.Event()
        """Set when a thread has taken it."""

    def __await__(self) -> Generator[Any, None, T]:
        return self._answer.__await__()

    def cancel(self) -> None:
        """No thread takes it any more; one that has goes on, and nobody hears of it."""
        self._future.cancel()
        self._answer.cancel()

    def run(self) -> None:
        """In a thread."""
        if not self._future.set_running_or_notify_cancel():
            return
        with suppress(RuntimeError):  # the loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(self.begun.set)
        try:
            answer = self._work()
        except BaseException as error:
            self._future.set_exception(error)
        else:
            self._future.set_result(answer)


class Threads:
    """At most `most` threads, made when they are needed. To be used from one thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made = 0
        self._open = 0
        """Jobs that wait or run."""
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Job[object] | None] = SimpleQueue()

    def submit(self, work: Callable[[], T]) -> Job[T]:
        """In the order of their coming."""
        job: Job[T] = Job(work)
        with self._lock:
            self._open += 1
            more = self._open > self._made
        self._jobs.put(job)  # type: ignore[arg-type]
        if more and self._made < self._most:
            self._made += 1
            threading.Thread(target=self._work, name=f"task-{self._made}", daemon=True).start()
        return job

    def stop(self) -> None:
        """Threads end after the job at hand. What still waits must have been cancelled before."""
        for _ in range(self._made):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            del job  # else what it holds lives until the next one comes
            with self._lock:
                self._open -= 1
