"""One behaviour for every file of `executors/`: what it reports, what it stops, and what runs side by side."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from engine import registry
from engine.errors import TaskError
from engine.model import AwaitSignal, Completed, Failed, Failure, Outcome, Result, Sleep, TaskCall
from engine.task_ports import Executor, ExecutorOptions, Host
from tests.unit.engine.harness import open_nothing

EXECUTORS = ("asyncio_executor",)
KINDS = ("light", "async", "blocking")
"""How a handler may work: at once, awaiting, or in a thread."""

THREADS = 4

Handler = Callable[[TaskCall], Outcome | Awaitable[Outcome]]


class Bench:
    """An executor that runs our handlers and reports to us."""

    def __init__(self, name: str) -> None:
        host = Host(self._run, lambda kind: kind in self.blocking)
        options = ExecutorOptions(host, open_nothing, threads=THREADS)
        self.executor: Executor = registry.load("executors", name, "open_executor")(options)
        self.handlers: dict[str, Handler] = {}
        self.blocking: set[str] = set()
        self.reports: list[tuple[TaskCall, Result, float]] = []
        self.threads: set[int] = set()

    async def start(self) -> None:
        await self.executor.start(self._report)

    def _run(self, call: TaskCall, beat: Callable[[], None]) -> Outcome | Awaitable[Outcome]:
        return self.handlers[call.type](call)

    def _report(self, call: TaskCall, result: Result, elapsed: float) -> None:
        self.reports.append((call, result, elapsed))
        self.threads.add(threading.get_ident())

    def handle(self, kind: str, work: Callable[[TaskCall], Any]) -> None:
        """`work` as a handler of this kind, under the type of that name."""

        async def later(call: TaskCall) -> Outcome:
            await asyncio.sleep(0)
            outcome: Outcome = work(call)
            return outcome

        self.handlers[kind] = later if kind == "async" else work
        if kind == "blocking":
            self.blocking.add(kind)

    def submit(self, *kinds: str, **fields: Any) -> list[TaskCall]:
        calls = [TaskCall(1, f"t{place}", kind, {"x": place}, **fields) for place, kind in enumerate(kinds)]
        self.executor.submit(calls)
        return calls

    async def results(self, count: int) -> list[Result]:
        """By the order of the calls' keys, once `count` have come."""
        async with asyncio.timeout(10):
            while len(self.reports) < count:
                await asyncio.sleep(0.001)
        return [result for call, result, _ in sorted(self.reports, key=lambda report: report[0].task)]

    async def result(self, kind: str, **fields: Any) -> Result:
        self.submit(kind, **fields)
        return (await self.results(1))[0]


def test_every_executor_of_the_room_is_here() -> None:
    assert set(registry.names("executors")) == set(EXECUTORS)


@pytest.fixture(params=EXECUTORS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    name = request.param
    bench = Bench(name)
    assert bench.executor.name == name.removesuffix("_executor")
    await bench.start()
    yield bench
    await bench.executor.stop()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "outcome",
    [
        Completed(),
        Completed({"a": [1, None, "é"]}, "yes"),
        Sleep(2.5, output=1),
        Sleep(until=9.0),
        AwaitSignal("go", 3.0),
    ],
)
async def test_an_outcome_is_reported_once_as_it_is(bench: Bench, kind: str, outcome: Outcome) -> None:
    bench.handle(kind, lambda call: outcome)
    assert await bench.result(kind) == outcome
    await asyncio.sleep(0.01)
    assert len(bench.reports) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_the_handler_gets_the_call_and_the_report_names_it(bench: Bench, kind: str) -> None:
    bench.handle(kind, lambda call: Completed([call.task, call.config, call.attempt, call.idempotency_key]))
    calls = bench.submit(kind, kind, attempt=3, idempotency_key="1/t/")
    results = await bench.results(2)
    assert results == [Completed([f"t{n}", {"x": n}, 3, "1/t/"]) for n in range(2)]
    assert {id(call) for call, _, _ in bench.reports} == {id(call) for call in calls}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (TaskError("no such bucket", type="s3", retryable=False), Failed(Failure("s3", "no such bucket", "t0"), False)),
        (TaskError("busy"), Failed(Failure("task_error", "busy", "t0"), True)),
        (ValueError("too low"), Failed(Failure("ValueError", "too low", "t0"), True)),
        (ValueError(), Failed(Failure("ValueError", "ValueError", "t0"), True)),
        (SystemExit(3), Failed(Failure("SystemExit", "3", "t0"), True)),
        (TimeoutError("its own"), Failed(Failure("TimeoutError", "its own", "t0"), True)),
    ],
)
async def test_an_error_is_reported_with_type_and_message(
    bench: Bench, kind: str, error: BaseException, reported: Failed
) -> None:
    bench.handle(kind, raising(error))
    assert await bench.result(kind, timeout=30.0) == reported


def raising(error: BaseException) -> Callable[[TaskCall], Outcome]:
    def work(call: TaskCall) -> Outcome:
        raise error

    return work


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "error",
    [
        StopIteration("x"),
        StopAsyncIteration("x"),
        asyncio.CancelledError("x"),
        RecursionError("x"),
        ExceptionGroup("x", [ValueError()]),
        Unprintable(),
        TaskError({"not": "text"}),  # type: ignore[arg-type]
        ValueError("x" * 1_000_000),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_handler_raises_the_attempt_ends(bench: Bench, kind: str, error: BaseException) -> None:
    bench.handle(kind, raising(error))
    result = await bench.result(kind)
    assert isinstance(result, Failed)
    assert 0 < len(result.error.message) <= 10_000
    bench.handlers[kind] = lambda call: Completed("next")
    bench.reports.clear()
    if kind != "async":
        assert await bench.result(kind) == Completed("next")


@pytest.mark.parametrize("kind", KINDS)
async def test_elapsed_is_the_seconds_of_the_work(bench: Bench, kind: str) -> None:
    def work(call: TaskCall) -> Outcome:
        time.sleep(0.02)
        return Completed()

    bench.handle(kind, work)
    await bench.result(kind)
    assert 0.015 <= bench.reports[0][2] < 60


@pytest.mark.parametrize("kind", KINDS)
async def test_reports_come_in_the_thread_of_the_loop(bench: Bench, kind: str) -> None:
    bench.handle(kind, lambda call: Completed())
    await bench.result(kind)
    assert bench.threads == {threading.get_ident()}


async def test_blocking_handlers_run_in_threads_and_others_in_the_loop(bench: Bench) -> None:
    for kind in KINDS:
        bench.handle(kind, lambda call: Completed(threading.get_ident()))
    bench.submit(*KINDS)
    light, in_loop, in_thread = await bench.results(3)
    assert light == in_loop == Completed(threading.get_ident())
    assert in_thread != light


# --- side by side ---


async def test_async_handlers_overlap(bench: Bench) -> None:
    everyone = asyncio.Barrier(20)

    async def meet(call: TaskCall) -> Outcome:
        await everyone.wait()
        return Completed(call.task)

    bench.handlers["meet"] = meet
    bench.submit(*["meet"] * 20)
    assert {result.output for result in await bench.results(20) if isinstance(result, Completed)} == {
        f"t{n}" for n in range(20)
    }


async def test_blocking_handlers_overlap_and_the_loop_turns_meanwhile(bench: Bench) -> None:
    everyone, turned = threading.Barrier(3), threading.Event()

    def meet(call: TaskCall) -> Outcome:
        everyone.wait(10)
        assert turned.wait(10)
        return Completed(call.task)

    bench.handle("blocking", meet)
    bench.submit(*["blocking"] * 3)
    await asyncio.sleep(0.01)
    turned.set()
    assert await bench.results(3) == [Completed(f"t{n}") for n in range(3)]


# --- timeouts ---


async def test_a_timeout_ends_the_attempt_and_reaches_the_handler(bench: Bench) -> None:
    seen: list[str] = []

    async def work(call: TaskCall) -> Outcome:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return Completed()

    bench.handlers["work"] = work
    result = await bench.result("work", timeout=0.02)
    message = "the attempt took longer than its timeout of 0.02 s"
    assert result == Failed(Failure("timeout", message, "t0"), True)
    assert bench.reports[0][2] >= 0.02
    assert seen == ["cancelled"]


async def test_a_timeout_counts_whatever_the_handler_makes_of_it(bench: Bench) -> None:
    async def work(call: TaskCall) -> Outcome:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("its own") from None
        return Completed()

    bench.handlers["work"] = work
    result = await bench.result("work", timeout=0.02)
    assert isinstance(result, Failed)
    assert result.error.type == "timeout"


class Late:
    """A blocking handler that answers when it may."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self, call: TaskCall) -> Outcome:
        self.began.set()
        assert self.go.wait(10)
        return Completed("late")


async def test_a_blocking_attempt_times_out_and_its_late_result_is_dropped(bench: Bench) -> None:
    late = Late()
    bench.handle("blocking", late)
    result = await bench.result("blocking", timeout=0.02)
    assert isinstance(result, Failed)
    assert result.error.type == "timeout"
    late.go.set()
    await asyncio.sleep(0.05)
    assert len(bench.reports) == 1


async def test_waiting_for_a_thread_is_not_part_of_the_attempt(bench: Bench) -> None:
    late = Late()
    bench.handle("blocking", late)
    bench.submit(*["blocking"] * THREADS)
    assert await asyncio.to_thread(late.began.wait, 10)
    bench.handlers["quick"] = lambda call: Completed("in time")
    bench.blocking.add("quick")
    bench.submit("quick", timeout=0.2, heartbeat_timeout=0.2)
    await asyncio.sleep(0.4)
    assert bench.reports == []
    late.go.set()
    await bench.results(THREADS + 1)
    found = {call.type: (result, elapsed) for call, result, elapsed in bench.reports}
    assert found["quick"][0] == Completed("in time")
    assert found["quick"][1] < 0.2 <= found["blocking"][1]


async def test_what_waits_for_a_thread_can_be_cancelled(bench: Bench) -> None:
    late, never = Late(), Late()
    bench.handle("blocking", late)
    bench.submit(*["blocking"] * THREADS)
    bench.handlers["never"] = never
    bench.blocking.add("never")
    waiting = bench.submit("never")
    await asyncio.sleep(0)
    bench.executor.cancel(waiting)
    late.go.set()
    await bench.results(THREADS)
    bench.submit("blocking")
    await bench.results(THREADS + 1)
    assert not never.began.is_set()


@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_who_is_in_time_does_not_time_out(bench: Bench, kind: str) -> None:
    bench.handle(kind, lambda call: Completed(call.timeout))
    assert await bench.result(kind, timeout=30.0) == Completed(30.0)


# --- cancelling ---


class Endless:
    """An async handler that runs until it is cancelled, and a count of where it is."""

    def __init__(self) -> None:
        self.began = 0
        self.cancelled = 0

    async def __call__(self, call: TaskCall) -> Outcome:
        self.began += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Completed()

    async def running(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.began < count:
                await asyncio.sleep(0.001)


async def test_a_cancel_reaches_the_handler_and_nothing_is_reported(bench: Bench) -> None:
    bench.handlers["endless"] = endless = Endless()
    calls = bench.submit("endless", "endless", "endless")
    await endless.running(3)
    bench.executor.cancel(calls[:2])
    bench.executor.cancel(calls[:2])
    await asyncio.sleep(0.02)
    assert (endless.cancelled, bench.reports) == (2, [])
    bench.executor.cancel(calls)
    await asyncio.sleep(0.02)
    assert (endless.cancelled, bench.reports) == (3, [])


async def test_a_handler_that_answers_its_cancel_is_not_listened_to(bench: Bench) -> None:
    began = asyncio.Event()

    async def answer(call: TaskCall) -> Outcome:
        began.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return Completed("too late")

    bench.handlers["answer"] = answer
    calls = bench.submit("answer")
    await began.wait()
    bench.executor.cancel(calls)
    await asyncio.sleep(0.02)
    assert bench.reports == []


async def test_calls_that_are_equal_are_not_the_same(bench: Bench) -> None:
    bench.handlers["endless"] = endless = Endless()
    (one,) = bench.submit("endless")
    (other,) = bench.submit("endless")
    assert one == other
    await endless.running(2)
    bench.executor.cancel([one])
    await asyncio.sleep(0.01)
    assert endless.cancelled == 1
    bench.executor.cancel([other])
    await asyncio.sleep(0.01)
    assert endless.cancelled == 2


@pytest.mark.parametrize("kind", ["endless", "blocking"])
async def test_a_call_can_be_cancelled_before_it_begins(bench: Bench, kind: str) -> None:
    bench.handlers["endless"] = endless = Endless()
    bench.handle("blocking", lambda call: Completed())
    bench.executor.cancel(bench.submit(kind))
    await asyncio.sleep(0.05)
    assert (endless.began, bench.reports) == (0, [])


async def test_what_is_over_or_unknown_can_be_cancelled(bench: Bench) -> None:
    bench.handle("light", lambda call: Completed())
    bench.executor.cancel(bench.submit("light"))
    bench.executor.cancel([TaskCall(9, "never", "light", {})])
    assert len(bench.reports) == 1


async def test_a_cancelled_thread_reports_nothing(bench: Bench) -> None:
    late = Late()
    bench.handle("blocking", late)
    calls = bench.submit("blocking")
    assert await asyncio.to_thread(late.began.wait, 10)
    bench.executor.cancel(calls)
    late.go.set()
    await asyncio.sleep(0.05)
    assert bench.reports == []


async def test_stopping_cancels_what_runs_and_reports_nothing(bench: Bench) -> None:
    late = Late()
    bench.handlers["endless"] = endless = Endless()
    bench.handle("blocking", late)
    bench.submit("endless", "endless", "blocking")
    await endless.running(2)
    assert await asyncio.to_thread(late.began.wait, 10)
    await bench.executor.stop()
    late.go.set()
    await asyncio.sleep(0.05)
    assert (endless.cancelled, bench.reports) == (2, [])


async def test_what_it_does_not_know_is_not_attached(bench: Bench) -> None:
    assert list(bench.executor.attach([TaskCall(1, "a", "light", {})])) == []
