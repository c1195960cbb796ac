"""One behaviour for every file of `executors/`: what it reports, what it stops, and what runs side by side.

The handlers stand in `executor_host.py`, what an executor needs around it in `rigs.py`.
"""

import asyncio
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from engine import limits, registry
from engine.errors import ConfigurationError, MillraceError
from engine.model import (
    Answer,
    Ask,
    AwaitSignal,
    Completed,
    Failed,
    Failure,
    FanOut,
    Lost,
    Outcome,
    Result,
    Sleep,
    StartChild,
    TaskCall,
)
from engine.task_ports import Executor, ExecutorOptions
from tests.conformance.executor_host import KINDS, Marks
from tests.conformance.rigs import RIGS, Rig

SECONDS = 60.0
"""How long a test waits for what must come."""
SOON = 0.3
"""How long a test waits for what must not come."""


pytestmark = pytest.mark.asyncio(loop_scope="module")  # for executors that last


class Bench:
    """An engine's side of one executor: it submits calls and takes their reports."""

    def __init__(self, name: str, options: ExecutorOptions, marks: Marks) -> None:
        self.executor = opened(name, options)
        self.marks = marks
        self.execution_id = zlib.crc32(str(marks.folder).encode())
        """Of the test: its engines know each other's calls, those of another test are none of theirs."""
        self.submitted: list[TaskCall] = []
        self.reports: list[tuple[TaskCall, Result, float]] = []
        self.threads: set[int] = set()

    async def start(self) -> None:
        await self.executor.start(self.report)

    def report(self, call: TaskCall, result: Result, elapsed: float) -> None:
        self.reports.append((call, result, elapsed))
        self.threads.add(threading.get_ident())

    def calls(self, *types: str, config: dict[str, Any] | None = None, **fields: Any) -> list[TaskCall]:
        """One for each type, with keys of their own."""
        mine = {"marks": str(self.marks.folder), **(config or {})}
        return [
            TaskCall(self.execution_id, f"t{place}", kind, {"x": place, **mine}, **fields)
            for place, kind in enumerate(types)
        ]

    def submit(self, *types: str, **fields: Any) -> list[TaskCall]:
        calls = self.calls(*types, **fields)
        self.submitted.extend(calls)
        self.executor.submit(calls)
        return calls

    async def results(self, count: int) -> list[Result]:
        """By the order of the calls' keys, once `count` have come."""
        async with asyncio.timeout(SECONDS):
            while len(self.reports) < count:
                await asyncio.sleep(0.001)
        return [result for call, result, _ in sorted(self.reports, key=lambda report: report[0].task)]

    async def result(self, kind: str, **fields: Any) -> Result:
        self.submit(kind, **fields)
        return (await self.results(1))[0]


def opened(name: str, options: ExecutorOptions) -> Executor:
    executor: Executor = registry.load("executors", name, "open_executor")(options)
    return executor


class Lasting:
    """An executor that goes on from test to test; its reports go to the test that runs."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.bench: Bench | None = None

    def report(self, call: TaskCall, result: Result, elapsed: float) -> None:
        assert self.bench is not None
        self.bench.report(call, result, elapsed)


async def test_every_executor_of_the_room_is_here() -> None:
    assert set(registry.names("executors")) == set(RIGS)


@pytest.fixture(params=RIGS, scope="module")
def name(request: pytest.FixtureRequest) -> str:
    """The module of an executor."""
    module: str = request.param
    return module


@pytest.fixture(scope="module")
def rig(name: str) -> Iterator[Rig]:
    """Shared by the tests that harm nobody."""
    with RIGS[name]() as rig:
        yield rig


@pytest.fixture
def remote(name: str) -> Iterator[Rig]:
    """One for this test alone, of an executor whose calls run in other processes."""
    if not RIGS[name].remote:
        pytest.skip("its calls run in the process of their engine")
    with RIGS[name]() as rig:
        yield rig


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lasting(name: str, rig: Rig) -> AsyncIterator[Lasting | None]:
    if not rig.lasting:
        yield None
        return
    lasting = Lasting(opened(name, rig.options()))
    await lasting.executor.start(lasting.report)
    yield lasting
    await lasting.executor.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def bench(name: str, rig: Rig, marks: Marks, lasting: Lasting | None) -> AsyncIterator[Bench]:
    bench = Bench(name, rig.options(), marks)
    assert bench.executor.name == name.removesuffix("_executor")
    if lasting is not None:
        bench.executor, lasting.bench = lasting.executor, bench
    else:
        await bench.start()
    yield bench
    bench.executor.cancel(bench.submitted)
    if lasting is None:
        await bench.executor.stop()


# --- results ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "outcome",
    [
        Completed(),
        *(
            Completed(value)
            for value in (True, False, 0, -1, 2**63 - 1, -(2**63), 0.1, -0.0, 1e300, "", 'é\n"\u2028🙂')
        ),
        Completed([]),
        Completed({}),
        Completed({"a": [1, None, "é", {"b": [[], {}]}], "": 1.0}, "yes"),
        Sleep(2.5, output=1),
        Sleep(until=9.0),
        AwaitSignal("go", 3.0),
        FanOut(3, 2, 1),
        AwaitSignal("@t0", 3.0, Ask("approval", "waits", "t", {"who": ["é"]}), Answer([1], "x", Failure("f", "m"))),
        StartChild("w", 3, {"n": [1.5]}, wait=False, labels={"a": "b"}),
    ],
    ids=repr,
)
async def test_an_outcome_is_reported_once_as_it_is(bench: Bench, kind: str, outcome: Outcome) -> None:
    result = await bench.result(f"{kind}:give", config={"outcome": msgspec.to_builtins(outcome)})
    assert msgspec.json.encode(result) == msgspec.json.encode(outcome)
    assert type(result) is type(outcome)
    await asyncio.sleep(0.01)
    assert len(bench.reports) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_result_may_be_as_large_as_the_limit(bench: Bench, kind: str) -> None:
    letters = (limits.PAYLOAD - 1000) // 2
    bench.submit(*[f"{kind}:large"] * 3, config={"letters": letters})
    assert await bench.results(3) == [Completed("é" * letters)] * 3


async def test_a_config_may_be_as_large_as_the_limit(bench: Bench) -> None:
    text = "é" * ((limits.PAYLOAD - 1000) // 2)
    assert await bench.result("light:describe", config={"x": text}) == Completed(["t0", text, 1, "", ""])


@pytest.mark.parametrize("kind", KINDS)
async def test_the_handler_gets_the_call_and_the_report_names_it(bench: Bench, kind: str) -> None:
    calls = bench.submit(*[f"{kind}:describe"] * 2, attempt=3, iteration="[17].2", idempotency_key="1/t/")
    results = await bench.results(2)
    assert results == [Completed([f"t{n}", n, 3, "[17].2", "1/t/"]) for n in range(2)]
    assert {id(call) for call, _, _ in bench.reports} == {id(call) for call in calls}


async def test_a_thousand_calls_are_reported_once_each(bench: Bench) -> None:
    calls = bench.submit(*["light:describe"] * 1000)
    await bench.results(1000)
    await asyncio.sleep(0.05)
    assert sorted(id(call) for call, _, _ in bench.reports) == sorted(map(id, calls))


# --- errors ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("error", "reported"),
    [
        ("typed", Failed(Failure("s3", "no such bucket", "t0"), False)),
        ("plain", Failed(Failure("task_error", "busy", "t0"), True)),
        ("value", Failed(Failure("ValueError", "too low", "t0"), True)),
        ("empty", Failed(Failure("ValueError", "ValueError", "t0"), True)),
        ("exit", Failed(Failure("SystemExit", "3", "t0"), True)),
        ("timeout", Failed(Failure("TimeoutError", "its own", "t0"), True)),
    ],
)
async def test_an_error_is_reported_with_type_and_message(
    bench: Bench, kind: str, error: str, reported: Failed
) -> None:
    assert await bench.result(f"{kind}:fail", config={"error": error}, timeout=30.0) == reported


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "error",
    [
        "StopIteration", "StopAsyncIteration", "CancelledError", "RecursionError", "ExceptionGroup", "unprintable",
        "not_text", "surrogate", "long",
    ],
)  # fmt: skip
async def test_whatever_a_handler_raises_the_attempt_ends(bench: Bench, kind: str, error: str) -> None:
    result = await bench.result(f"{kind}:fail", config={"error": error})
    assert isinstance(result, Failed)
    assert 0 < len(result.error.message) <= 10_000
    bench.reports.clear()
    assert await bench.result(f"{kind}:describe", attempt=2) == Completed(["t0", 0, 2, "", ""])


@pytest.mark.parametrize("kind", KINDS)
async def test_elapsed_is_the_seconds_of_the_work(bench: Bench, kind: str) -> None:
    await bench.result(f"{kind}:doze")
    assert 0.1 <= bench.reports[0][2] < 60  # a loop that is late sees the begin of a thread late


@pytest.mark.parametrize("kind", KINDS)
async def test_reports_come_in_the_thread_of_the_loop(bench: Bench, kind: str) -> None:
    await bench.result(f"{kind}:describe")
    assert bench.threads == {threading.get_ident()}


async def test_blocking_handlers_run_in_threads_and_others_in_the_loop(bench: Bench) -> None:
    bench.submit(*(f"{kind}:is_in_loop" for kind in KINDS))
    assert await bench.results(3) == [Completed(True), Completed(True), Completed(False)]


# --- side by side ---


@pytest.mark.parametrize(("kind", "count"), [("async:meet", 12), ("blocking:meet_in_thread", 3)])
async def test_handlers_that_wait_overlap(bench: Bench, kind: str, count: int) -> None:
    bench.submit(*[kind] * count, config={"all": count})
    intervals = [result.output for result in await bench.results(count) if isinstance(result, Completed)]
    assert len(intervals) == count
    assert max(began for began, _ in intervals) <= min(ended for _, ended in intervals)


async def test_the_loop_turns_while_a_thread_works(bench: Bench) -> None:
    bench.submit("blocking:late", "async:give", config={"outcome": msgspec.to_builtins(Completed("meanwhile"))})
    assert await bench.results(1) == [Completed("meanwhile")]
    bench.marks.put("go")
    assert await bench.results(2) == [Completed("late"), Completed("meanwhile")]


# --- timeouts ---


async def test_a_timeout_ends_the_attempt_and_reaches_the_handler(bench: Bench) -> None:
    result = await bench.result("async:wait", timeout=0.3)
    message = "the attempt took longer than its timeout of 0.3 s"
    assert result == Failed(Failure("timeout", message, "t0"), True)
    assert bench.reports[0][2] > 0.29
    assert bench.marks.has("t0.cancelled")


async def test_a_timeout_counts_whatever_the_handler_makes_of_it(bench: Bench) -> None:
    result = await bench.result("async:wrong_end", timeout=0.05)
    assert isinstance(result, Failed)
    assert result.error.type == "timeout"


async def test_a_blocking_attempt_times_out_and_its_late_result_is_dropped(bench: Bench) -> None:
    result = await bench.result("blocking:late", timeout=0.2)
    assert isinstance(result, Failed)
    assert result.error.type == "timeout"
    bench.marks.put("go")
    await bench.marks.wait("t0.ended")
    await asyncio.sleep(0.05)
    assert len(bench.reports) == 1


@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_who_is_in_time_does_not_time_out(bench: Bench, kind: str) -> None:
    assert await bench.result(f"{kind}:describe", timeout=30.0) == Completed(["t0", 0, 1, "", ""])


async def test_silence_longer_than_the_heartbeat_timeout_ends_the_attempt(bench: Bench) -> None:
    result = await bench.result("async:wait", heartbeat_timeout=0.3)
    assert result == Failed(Failure("heartbeat_timeout", "no heartbeat came for 0.3 s", "t0"), True)
    assert bench.marks.has("t0.cancelled")


async def test_heartbeats_keep_a_long_attempt_alive(bench: Bench) -> None:
    assert await bench.result("async:lively", heartbeat_timeout=0.9) == Completed("alive")


# --- cancelling ---


async def test_a_cancel_reaches_the_handler_and_nothing_is_reported(bench: Bench) -> None:
    calls = bench.submit(*["async:wait"] * 3)
    await bench.marks.wait_count("began", 3)
    bench.executor.cancel(calls[:2])
    bench.executor.cancel(calls[:2])
    await bench.marks.wait_count("cancelled", 2)
    assert (bench.marks.count("cancelled"), bench.reports) == (2, [])
    bench.executor.cancel(calls)
    await bench.marks.wait_count("cancelled", 3)
    await asyncio.sleep(0.02)
    assert bench.reports == []


async def test_a_handler_that_answers_its_cancel_is_not_listened_to(bench: Bench) -> None:
    calls = bench.submit("async:stubborn")
    await bench.marks.wait("t0.began")
    bench.executor.cancel(calls)
    await bench.marks.wait("t0.ended")
    await asyncio.sleep(0.05)
    assert bench.reports == []


@pytest.mark.parametrize("kind", ["async:wait", "blocking:describe"])
async def test_a_call_can_be_cancelled_before_it_begins(bench: Bench, kind: str) -> None:
    bench.executor.cancel(bench.submit(kind))
    await asyncio.sleep(SOON)
    assert bench.reports == []
    assert bench.marks.count("began") == bench.marks.count("cancelled")


async def test_what_is_over_or_unknown_can_be_cancelled(bench: Bench) -> None:
    calls = bench.submit("light:describe")
    await bench.results(1)
    bench.executor.cancel(calls)
    bench.executor.cancel([TaskCall(9, "never", "light:describe", {})])
    assert isinstance(await bench.result("light:describe", attempt=2), Completed)


async def test_a_cancelled_thread_reports_nothing(bench: Bench) -> None:
    calls = bench.submit("blocking:late")
    await bench.marks.wait("t0.began")
    bench.executor.cancel(calls)
    bench.marks.put("go")
    await bench.marks.wait("t0.ended")
    await asyncio.sleep(0.05)
    assert bench.reports == []


async def test_nothing_is_reported_after_a_stop(name: str, rig: Rig, marks: Marks) -> None:
    bench = await engine(name, rig, marks)
    calls = bench.submit("async:wait", "async:wait", "blocking:late")
    await bench.marks.wait_count("began", 3)
    bench.executor.cancel(calls[:1])
    bench.executor.detach(calls[1:])
    await bench.executor.stop()
    bench.marks.put("go")
    await asyncio.sleep(SOON)
    assert bench.reports == []


# --- another engine ---


def unknown(calls: Sequence[TaskCall], attached: Sequence[TaskCall], bench: Bench) -> bool:
    """Whether each was refused at once or reported lost without suspicion."""
    refused = {id(call) for call in calls} - {id(call) for call in attached}
    lost = {id(call) for call, result, _ in bench.reports if isinstance(result, Lost) and not result.suspect}
    return refused | lost == {id(call) for call in calls}


async def test_what_it_does_not_know_is_refused_or_reported_lost(bench: Bench) -> None:
    calls = bench.calls("light:describe", "async:wait", attempt=7)
    attached = list(bench.executor.attach(calls))
    await bench.results(len(attached))
    assert unknown(calls, attached, bench)
    assert bench.marks.count("began") == 0


async def engine(name: str, rig: Rig, marks: Marks) -> Bench:
    bench = Bench(name, rig.options(), marks)
    await bench.start()
    return bench


async def test_the_next_engine_attaches_to_what_runs(name: str, remote: Rig, marks: Marks) -> None:
    dead, heir = await engine(name, remote, marks), await engine(name, remote, marks)
    dead.submit("async:wait", config={"answer": [1]})
    await marks.wait("t0.began")
    calls = heir.calls("async:wait", "async:wait")
    attached = list(heir.executor.attach(calls))
    assert calls[0] in attached
    marks.put("go")
    reported = dict(zip(["t0", "t1"], await heir.results(len(attached)), strict=False))
    assert reported.pop("t0") == Completed([1])
    assert all(isinstance(result, Lost) and not result.suspect for result in reported.values())
    await dead.executor.stop()
    await heir.executor.stop()


async def test_the_next_engine_finds_what_ended_meanwhile(name: str, remote: Rig, marks: Marks) -> None:
    dead = await engine(name, remote, marks)
    calls = dead.submit("async:wait", "blocking:late")
    await marks.wait_count("began", 2)
    dead.executor.detach(calls)
    await dead.executor.stop()
    marks.put("go")
    await marks.wait_count("ended", 2)
    await asyncio.sleep(SOON)
    heir = await engine(name, remote, marks)
    again = heir.calls("async:wait", "blocking:late")
    assert list(heir.executor.attach(again)) == again
    assert await heir.results(2) == [Completed(), Completed("late")]
    await heir.executor.stop()


# --- what breaks ---


@pytest.mark.parametrize("kind", ["async:wait", "blocking:late"])
async def test_a_killed_process_is_reported_and_others_go_on(name: str, remote: Rig, marks: Marks, kind: str) -> None:
    bench = await engine(name, remote, marks)
    bench.submit(kind)
    remote.kill(int(await marks.wait("t0.began")))
    (result,) = await bench.results(1)
    assert isinstance(result, Lost)
    assert result.suspect
    assert result.reason
    bench.reports.clear()
    assert await bench.result("light:describe", attempt=2) == Completed(["t0", 0, 2, "", ""])
    await bench.executor.stop()


async def test_an_unreachable_server_is_said_with_its_cure(name: str, marks: Marks) -> None:
    rig = RIGS[name]()
    if rig.unreachable is None:
        pytest.skip("it needs no server")
    bench = Bench(name, rig.options(**rig.unreachable), marks)
    async with asyncio.timeout(SECONDS):
        with pytest.raises(MillraceError) as raised:
            await bench.start()
        await bench.executor.stop()
    assert rig.cure in raised.value.message
    assert "\n" not in raised.value.message


async def test_a_missing_library_is_said_with_its_cure(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = RIGS[name].library
    if library is None:
        pytest.skip("it needs no library")
    for module in [m for m in sys.modules if m.partition(".")[0] == library or m == f"executors.{name}"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigurationError, match=rf"Python package {library}\b.*requirements\.txt"):
        registry.load("executors", name, "open_executor")


async def test_an_executor_that_never_ran_stops(name: str, marks: Marks) -> None:
    await Bench(name, RIGS[name]().options(), marks).executor.stop()
