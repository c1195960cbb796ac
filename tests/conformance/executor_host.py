"""The handlers of the executors' conformance suite: importable by name, so that they run in any process.

A call's type is `kind:work`; the kind says how the handler works (at once, awaiting, in a thread), the work is a
function here. What it needs is in the config; what it saw goes into the outcome, or into marks: files that the test
reads (`marks/<task>.<word>`) and writes (`marks/go`).
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from engine.errors import TaskError
from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import Host

KINDS = ("light", "async", "blocking")
PATIENCE = 60.0
"""Seconds after which a handler that waits for a test gives up."""

Beat = Callable[[], None]


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


ERRORS: dict[str, Callable[[], BaseException]] = {
    "typed": lambda: TaskError("no such bucket", type="s3", retryable=False),
    "plain": lambda: TaskError("busy"),
    "value": lambda: ValueError("too low"),
    "empty": ValueError,
    "exit": lambda: SystemExit(3),
    "timeout": lambda: TimeoutError("its own"),
    "StopIteration": lambda: StopIteration("x"),
    "StopAsyncIteration": lambda: StopAsyncIteration("x"),
    "CancelledError": lambda: asyncio.CancelledError("x"),
    "RecursionError": lambda: RecursionError("x"),
    "ExceptionGroup": lambda: ExceptionGroup("x", [ValueError()]),
    "unprintable": Unprintable,
    "not_text": lambda: TaskError({"not": "text"}),  # type: ignore[arg-type]
    "surrogate": lambda: ValueError("\ud800"),
    "long": lambda: ValueError("x" * 1_000_000),
}


class Marks:
    """What a handler leaves for the test, and the test for a handler."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def put(self, name: str, text: str = "") -> None:
        """Seen whole or not at all."""
        new = self.folder / f"{name}.{os.getpid()}.new"
        new.write_text(text)
        new.rename(self.folder / name)

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def count(self, word: str) -> int:
        return sum(1 for _ in self.folder.glob(f"*.{word}"))

    async def wait(self, name: str) -> str:
        """The text of a mark, once it is there."""
        await self._until(lambda: self.has(name), name)
        return self.read(name)

    async def wait_count(self, word: str, count: int) -> None:
        await self._until(lambda: self.count(word) >= count, f"{count} × {word}")

    def wait_in_thread(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.has(name):
            assert time.monotonic() < deadline, f"no {name} came"
            time.sleep(0.002)

    async def _until(self, there: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not there():
            assert time.monotonic() < deadline, f"no {what} came"
            await asyncio.sleep(0.002)


# --- works of every kind ---


def give(call: TaskCall, beat: Beat) -> Outcome:
    """The outcome in the config."""
    outcome: Outcome = msgspec.convert(call.config["outcome"], Outcome)
    return outcome


def large(call: TaskCall, beat: Beat) -> Outcome:
    return Completed("é" * call.config["letters"])


def describe(call: TaskCall, beat: Beat) -> Outcome:
    return Completed([call.task, call.config["x"], call.attempt, call.iteration, call.idempotency_key])


def fail(call: TaskCall, beat: Beat) -> Outcome:
    raise ERRORS[call.config["error"]]()


def doze(call: TaskCall, beat: Beat) -> Outcome:
    time.sleep(0.3)
    return Completed()


def is_in_loop(call: TaskCall, beat: Beat) -> Outcome:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return Completed(False)
    return Completed(True)


def late(call: TaskCall, beat: Beat) -> Outcome:
    """For threads: answers when it may."""
    marks = Marks(call.config["marks"])
    marks.put(f"{call.task}.began", str(os.getpid()))
    marks.wait_in_thread("go")
    marks.put(f"{call.task}.ended")
    return Completed("late")


def meet_in_thread(call: TaskCall, beat: Beat) -> Outcome:
    """Ends when all others have begun: they overlap, or nobody ends."""
    marks, began = Marks(call.config["marks"]), time.monotonic()
    marks.put(f"{call.task}.began")
    deadline = began + PATIENCE
    while marks.count("began") < call.config["all"]:
        assert time.monotonic() < deadline, "the others did not begin"
        time.sleep(0.002)
    return Completed([began, time.monotonic()])


# --- works that await ---


async def meet(call: TaskCall, beat: Beat) -> Outcome:
    marks, began = Marks(call.config["marks"]), time.monotonic()
    marks.put(f"{call.task}.began")
    await marks.wait_count("began", call.config["all"])
    return Completed([began, time.monotonic()])


async def wait(call: TaskCall, beat: Beat) -> Outcome:
    """Runs until it may end, or is cancelled."""
    marks = Marks(call.config["marks"])
    marks.put(f"{call.task}.began", str(os.getpid()))
    try:
        await marks.wait("go")
    except asyncio.CancelledError:
        marks.put(f"{call.task}.cancelled")
        raise
    marks.put(f"{call.task}.ended")
    return Completed(call.config.get("answer"))


async def wrong_end(call: TaskCall, beat: Beat) -> Outcome:
    """Makes an error of its own of its cancellation."""
    try:
        await asyncio.sleep(PATIENCE)
    except asyncio.CancelledError:
        raise ValueError("its own") from None
    return Completed()


async def stubborn(call: TaskCall, beat: Beat) -> Outcome:
    """Answers its cancellation."""
    marks = Marks(call.config["marks"])
    marks.put(f"{call.task}.began")
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(PATIENCE)
    marks.put(f"{call.task}.ended")
    return Completed("too late")


async def lively(call: TaskCall, beat: Beat) -> Outcome:
    """Works longer than the heartbeat timeout of its test, with signs of life."""
    for _ in range(20):
        beat()
        await asyncio.sleep(0.05)
    return Completed("alive")


WORKS: dict[str, Callable[[TaskCall, Beat], Outcome | Awaitable[Outcome]]] = {
    work.__name__: work
    for work in (
        give, large, describe, fail, doze, is_in_loop, late, meet_in_thread, meet, wait, wrong_end, stubborn, lively,
    )
}  # fmt: skip


async def _later(work: Callable[[TaskCall, Beat], Outcome | Awaitable[Outcome]], call: TaskCall, beat: Beat) -> Outcome:
    await asyncio.sleep(0)
    outcome = work(call, beat)
    return await outcome if isinstance(outcome, Awaitable) else outcome


def run(call: TaskCall, beat: Beat) -> Outcome | Awaitable[Outcome]:
    kind, _, name = call.type.partition(":")
    work = WORKS[name]
    return _later(work, call, beat) if kind == "async" else work(call, beat)


HOST = Host(run, lambda kind: kind.startswith("blocking:"))


@asynccontextmanager
async def open_host() -> AsyncIterator[Host]:
    """What a worker process is told to open."""
    yield HOST
