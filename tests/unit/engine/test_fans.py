"""Maps and loops: what each step says, in the cases that are easier told than drawn by chance."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from engine import events as ev
from engine import limits
from engine.bodies import number_of, outer_of
from engine.fans import IN_LINE
from engine.model import Completed, Edge, Failed, Failure, FanOut, Lost, Sleep, Task, TaskCall
from engine.states import ExecutionStatus as E
from engine.states import TaskStatus as T
from tests.unit.engine.harness import Engine
from tests.unit.engine.test_runner import Driver, names

BOOM = Failed(Failure("boom", "it broke"))


def mapping(config: Any = None, items: Any = "{{input}}", key: str = "m", **more: Any) -> Task:
    """A map over the input."""
    body = {"type": "noop", "config": config or {"of": "{{item}}"}}
    retry = more.pop("retry", None)
    if retry is not None:
        body["retry"] = retry
    return Task(key, "map", {"items": items, "task": body}, **more)


def looping(max_rounds: int = 5, *, until: Any = None, goes_on: Any = None) -> Task:
    body = {"type": "noop", "config": {"round": "{{round}}", "last": "{{last}}"}}
    guard = {"while": goes_on} if until is None else {"until": until}
    return Task("l", "loop", {"task": body, "max_rounds": max_rounds, **guard})


def begun(task: Task, value: Any, outcome: FanOut, *others: Task, slots: int = 10) -> Driver:
    drive = Driver(task, *others, slots=slots)
    drive.begin(value)
    drive.result(task.key, outcome)
    return drive


def output(drive: Driver) -> Any:
    return drive.run.state.output()["m"]


@pytest.mark.parametrize(
    ("address", "outer", "number"),
    [("m[17]", "m", 17), ("l.2", "l", 2), ("m[17].2", "m[17]", 2), ("a[1][0]", "a[1]", 0)],
)
def test_an_address_says_what_it_is(address: str, outer: str, number: int) -> None:
    assert (outer_of(address), number_of(address)) == (outer, number)
    assert outer_of("a-b_1") == ""


# --- maps ---


def test_items_run_with_their_item_and_results_come_in_order() -> None:
    drive = begun(mapping({"of": "{{item.v}}", "at": "{{index}}"}), [{"v": "a"}, {"v": "b"}, {"v": "c"}], FanOut(3, 2))
    call = drive.run.flying["m[1]"]
    assert (call.task, call.iteration, call.idempotency_key) == ("m", "[1]", "1/m/[1]")
    assert call.config == {"of": "b", "at": 1}
    assert names(drive.result("m[1]", Completed("second"))) == ["TaskCompleted", "TaskStarted"]
    drive.result("m[2]", Completed("third"))
    last = drive.result("m[0]", Completed("first"))
    assert names(last) == ["TaskCompleted", "TaskCompleted", "ExecutionCompleted"]
    assert last.events[1] == ev.TaskCompleted("m"), "what the items have put out is said again"
    assert output(drive) == {"results": ["first", "second", "third"], "errors": []}


def test_a_map_over_nothing_is_complete_at_once() -> None:
    drive = Driver(mapping(), Task("b", config={"all": "{{tasks.m.output.results}}"}), edges=(Edge("m", "b"),))
    drive.begin([])
    assert names(drive.result("m", FanOut(0, 10))) == ["TaskFannedOut", "TaskCompleted", "TaskStarted"]
    assert drive.run.flying["b"].config == {"all": []}


def test_failures_within_tolerance_are_null_and_told() -> None:
    drive = begun(mapping(), [1, 2], FanOut(2, 2, tolerated=1))
    drive.result("m[1]", BOOM)
    drive.result("m[0]", Completed("ok"))
    assert output(drive) == {
        "results": ["ok", None],
        "errors": [{"index": 1, "type": "boom", "message": "it broke"}],
    }


def test_one_failure_too_many_cancels_what_runs_and_is_final() -> None:
    after = Task("b", config={"why": "{{tasks.m.error.message}}"})
    drive = Driver(mapping(on_error="b"), after, edges=(Edge("m", "b", "@error"),), slots=3)
    drive.begin([1, 2, 3, 4, 5])
    drive.result("m", FanOut(5, 4))
    calls = dict(drive.run.flying)
    assert list(calls) == ["m[0]", "m[1]", "m[2]"]
    assert drive.run.wanted == {"m[3]"}
    step = drive.result("m[1]", BOOM)
    assert names(step) == ["TaskFailed", "TaskCancelled", "TaskCancelled", "TaskCancelled", "TaskFailed", "TaskStarted"]
    assert step.cancels == (calls["m[0]"], calls["m[2]"])
    assert step.calls[0].config == {"why": "1 of 5 items failed, 0 may; the first was m[1]: boom: it broke"}
    drive.run.result(calls["m[0]"], Completed("late"), 0.1)
    assert drive.run.advance() is None
    assert list(drive.run.flying) == ["b"]
    assert not drive.run.wanted
    assert drive.slots.free == 2


def test_an_item_whose_config_cannot_be_rendered_keeps_the_next_from_beginning() -> None:
    drive = begun(mapping({"of": "{{item.v}}"}), [{}, {"v": 1}], FanOut(2, 2))
    events = [type(event).__name__ for event in drive.events]
    assert events[2:] == ["TaskFannedOut", "TaskFailed", "TaskFailed", "ExecutionFailed"]


def test_each_item_has_its_attempts() -> None:
    drive = begun(mapping(retry={"max_attempts": 2, "initial_interval": 3}), [1, 2], FanOut(2, 2))
    assert names(drive.result("m[0]", BOOM)) == ["TaskFailed"]
    drive.result("m[1]", Completed("ok"))
    assert drive.run.state.tasks["m[0]"].status is T.RETRYING
    drive.run.now = drive.now + 5
    assert names(drive.step()) == ["TaskStarted"]
    assert drive.run.flying["m[0]"].attempt == 2
    drive.result("m[0]", Completed("at last"))
    assert output(drive)["results"] == ["at last", "ok"]


def test_a_map_of_others_in_turn() -> None:
    """A map inside a map inside a loop: each run knows what is around it."""
    inner = {"type": "map", "config": {"items": "{{item}}", "task": {"type": "noop", "config": {"of": "{{item}}"}}}}
    outer = {"type": "map", "config": {"items": "{{input}}", "task": inner}}
    drive = Driver(Task("l", "loop", {"task": outer, "until": "{{round}} == 2"}))
    drive.begin([["a", "b"], []])
    drive.result("l", FanOut(5))
    for number in (1, 2):
        drive.result(f"l.{number}", FanOut(2, 2))
        drive.result(f"l.{number}[1]", FanOut(0, 2))
        drive.result(f"l.{number}[0]", FanOut(2, 2))
        assert drive.run.flying[f"l.{number}[0][1]"].config == {"of": "b"}
        assert drive.run.flying[f"l.{number}[0][1]"].iteration == f".{number}[0][1]"
        drive.result(f"l.{number}[0][1]", Completed(f"b{number}"))
        drive.result(f"l.{number}[0][0]", Completed(f"a{number}"))
    results = [{"results": ["a2", "b2"], "errors": []}, {"results": [], "errors": []}]
    assert drive.run.state.output() == {"l": {"last": {"results": results, "errors": []}, "rounds": 2}}


def test_results_that_are_too_large_together_fail_the_map() -> None:
    drive = begun(mapping(), [1, 2], FanOut(2, 2))
    drive.result("m[0]", Completed("x" * (limits.PAYLOAD // 2)))
    drive.result("m[1]", Completed("x" * (limits.PAYLOAD // 2)))
    error = drive.run.state.error
    assert error is not None
    assert (error.type, error.task) == ("output_too_large", "m")


@pytest.mark.parametrize("result", [Completed("x" * (limits.PAYLOAD // 4)), Failed(Failure("t" * 9_000, "m" * 9_000))])
def test_a_map_ends_as_soon_as_its_results_are_too_large(result: Any) -> None:
    """Those of 10,000 items would not fit into memory."""
    drive = begun(mapping(on_error="continue"), list(range(1_000)), FanOut(1_000, 3, 1_000), Task("b"))
    steps: list[Any] = []
    while "m" in drive.run.state.active:
        steps.append(drive.result(f"m[{len(steps)}]", result))
    ended, step = len(steps), steps[-1]
    size = drive.run.state.fans["m"].size
    assert limits.PAYLOAD < size < limits.PAYLOAD * 1.3
    assert names(step)[1:] == ["TaskCancelled", "TaskCancelled", "TaskFailed"]
    assert [call.address for call in step.cancels] == [f"m[{ended}]", f"m[{ended + 1}]"]
    error = drive.run.state.tasks["m"].error
    assert error is not None
    message = f"{ended} of 1000 items have ended, and have put out {size} bytes as JSON; "
    assert error == Failure("output_too_large", f"{message}at most {limits.PAYLOAD} are allowed together", "m")
    drive.reload()
    assert drive.run.state.fans["m"].size == size


def test_small_results_of_many_items_are_not_too_large() -> None:
    """What an event says besides its output is no part of it."""
    count = 5_000
    drive = begun(mapping(), list(range(count)), FanOut(count, 10))
    for number in range(count):
        drive.result(f"m[{number}]", Completed("x" * 200))
    assert drive.run.state.status is E.COMPLETED
    assert drive.run.state.fans["m"].size == count * 202


def test_only_the_last_round_counts_for_a_loop() -> None:
    drive = Driver(looping(until="{{round}} == 5"))
    drive.begin()
    drive.result("l", FanOut(5))
    for number in range(1, 6):
        drive.result(f"l.{number}", Completed("x" * (limits.PAYLOAD // 2)))
    assert drive.run.state.status is E.COMPLETED


def test_an_outcome_of_another_type_is_refused() -> None:
    drive = Driver(Task("a"))
    drive.begin()
    drive.result("a", FanOut(3))
    assert drive.run.state.error == Failure(
        "bad_outcome", "a task of the type 'noop' has no task to run many times", "a"
    )


def test_a_cancelled_execution_stops_all() -> None:
    drive = begun(mapping(), [1, 2, 3], FanOut(3, 2))
    drive.signal(1, "cancel", b'"enough"', "cancel")
    step = drive.step()
    assert names(step) == ["CancelRequested", *["TaskCancelled"] * 3, "ExecutionCancelled"]
    assert {call.address for call in step.cancels} == {"m[0]", "m[1]"}
    assert drive.slots.free == 10


def test_a_take_over_begins_what_was_open_and_nothing_else() -> None:
    drive = begun(mapping(), ["a", "b", "c", "d"], FanOut(4, 2))
    drive.result("m[0]", Completed("done"))
    drive.reload(E.RUNNING)
    assert names(drive.step()) == ["TakenOver", "TaskStarted", "TaskStarted"]
    assert {key: call.attempt for key, call in drive.run.flying.items()} == {"m[1]": 2, "m[2]": 2}
    assert drive.run.flying["m[2]"].config == {"of": "c"}
    for place in (1, 2, 3):
        drive.result(f"m[{place}]", Completed(place))
    assert output(drive)["results"] == ["done", 1, 2, 3]


def test_an_item_that_kills_its_process_is_given_up_alone() -> None:
    drive = begun(mapping(), ["a", "b"], FanOut(2, 2, tolerated=1))
    for attempt in range(7):
        assert drive.run.flying["m[0]"].alone == (attempt >= 2)
        drive.result("m[0]", Lost("its process died"))
    drive.result("m[1]", Completed("b"))
    assert output(drive)["errors"][0]["type"] == "process_lost"


def test_waiting_items_hold_nothing() -> None:
    drive = begun(mapping(), [1, 2], FanOut(2, 2))
    drive.result("m[0]", Sleep(5, output="first"))
    parked = drive.result("m[1]", Sleep(3, output="second"))
    assert parked.parked
    assert parked.append.status is E.WAITING
    assert parked.append.park is not None
    assert parked.append.park.wake_in == 3
    drive.now += 10
    drive.reload(E.WAITING)
    assert names(drive.step()) == ["TaskCompleted", "TaskCompleted", "TaskCompleted", "ExecutionCompleted"]
    assert output(drive)["results"] == ["first", "second"]


def test_a_crowded_map_leaves_the_line_to_others() -> None:
    drive = begun(mapping(), list(range(500)), FanOut(500, 500), slots=4)
    assert len(drive.run.flying) == 4
    assert len(drive.run.wanted) == IN_LINE
    for place in range(4):
        drive.run.result(drive.run.flying[f"m[{place}]"], Completed(), 0.1)
    drive.step()
    if drive.run.has_news:
        drive.step()
    assert len(drive.run.flying) == 4
    assert len(drive.run.wanted) <= IN_LINE


def test_an_item_costs_the_same_among_many() -> None:
    """Counted, not timed: the lines of Python that one more item takes."""
    few, many = (_lines_per_item(count) for count in (200, 3_000))
    assert many <= 1.2 * few


def _lines_per_item(count: int) -> float:
    drive = begun(mapping(), list(range(count)), FanOut(count, 10))
    lines = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    for place in range(count - 100):
        drive.result(f"m[{place}]", Completed(place))
    sys.settrace(trace)
    try:
        for place in range(count - 100, count - 50):
            drive.result(f"m[{place}]", Completed(place))
    finally:
        sys.settrace(None)
    return lines / 50


# --- loops ---


def test_until_is_asked_after_each_round() -> None:
    drive = begun(looping(until={">=": [{"var": "last.n"}, 2]}), None, FanOut(5))
    assert drive.run.flying["l.1"].config == {"round": 1, "last": None}
    assert names(drive.result("l.1", Completed({"n": 1}))) == ["TaskCompleted", "TaskStarted"]
    call = drive.run.flying["l.2"]
    assert (call.config, call.iteration) == ({"round": 2, "last": {"n": 1}}, ".2")
    assert names(drive.result("l.2", Completed({"n": 2}))) == ["TaskCompleted", "TaskCompleted", "ExecutionCompleted"]
    assert drive.run.state.output() == {"l": {"last": {"n": 2}, "rounds": 2}}


def test_while_is_asked_before_each_round() -> None:
    none = begun(looping(goes_on="{{round}} < 1"), None, FanOut(5))
    assert none.run.state.output() == {"l": {"last": None, "rounds": 0}}
    drive = begun(looping(goes_on="{{input.more}} and {{round}} <= 2"), {"more": True}, FanOut(5))
    drive.result("l.1", Completed("a"))
    drive.result("l.2", Completed("b"))
    assert drive.run.state.output() == {"l": {"last": "b", "rounds": 2}}


def test_a_loop_that_asks_for_too_many_rounds_fails() -> None:
    drive = begun(looping(2, until=False), None, FanOut(2))
    drive.result("l.1", Completed())
    drive.result("l.2", Completed())
    error = drive.run.state.error
    assert error is not None
    assert (error.type, error.task) == ("max_rounds", "l")
    assert "2 rounds" in error.message


def test_a_failed_round_fails_its_loop_with_its_reason() -> None:
    drive = begun(looping(until=False), None, FanOut(5))
    drive.result("l.1", Completed())
    drive.result("l.2", BOOM)
    assert drive.run.state.error == Failure("boom", "round 2: it broke", "l")


def test_a_guard_that_cannot_be_evaluated_fails_its_loop() -> None:
    drive = begun(looping(until="{{last.done}}"), None, FanOut(5))
    drive.result("l.1", Completed({"other": 1}))
    error = drive.run.state.error
    assert error is not None
    assert (error.type, error.task) == ("template", "l")
    assert error.message.startswith("until: ")


def test_a_round_may_wait() -> None:
    drive = begun(looping(until="{{round}} == 2"), None, FanOut(5))
    assert drive.result("l.1", Sleep(10, output="nap")).parked
    drive.now += 20
    drive.reload()
    assert names(drive.step()) == ["TaskCompleted", "TaskStarted"]
    assert drive.run.flying["l.2"].config == {"round": 2, "last": "nap"}


# --- in a whole engine ---


class Busy:
    """A handler that counts how many of it run at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.done: list[str] = []

    async def __call__(self, call: TaskCall) -> Completed:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        self.done.append(call.address)
        return Completed(call.config["of"])


def engine(path: Path, busy: Busy, parallel: int, slots: int) -> Engine:
    made = Engine(path, slots=slots)
    made.handlers["noop"] = busy
    made.handlers["map"] = lambda call: FanOut(len(call.config["items"]), parallel)
    return made


@pytest.mark.parametrize(("parallel", "slots", "bound", "most"), [(3, 50, None, 3), (50, 4, None, 4), (50, 50, 2, 2)])
async def test_no_more_run_at_once_than_may(
    tmp_path: Path, parallel: int, slots: int, bound: int | None, most: int
) -> None:
    busy = Busy()
    async with engine(tmp_path, busy, parallel, slots) as running:
        version = await running.define(mapping(), max_concurrency=bound)
        number, _ = await running.start(version, list(range(60)))
        assert (await running.ended(number)).status is E.COMPLETED
    assert busy.most == most
    assert sorted(map(number_of, busy.done)) == list(range(60))


async def test_a_map_keeps_nobody_from_his_turn(tmp_path: Path) -> None:
    busy = Busy()
    async with engine(tmp_path, busy, 500, 3) as running:
        large, small = await running.define(mapping()), await running.define(Task("only", config={"of": 1}))
        number, _ = await running.start(large, list(range(500)))
        while len(busy.done) < 10:
            await asyncio.sleep(0.001)
        first, _ = await running.start(small)
        assert (await running.ended(first)).status is E.COMPLETED
        assert len(busy.done) < 200
        await running.ended(number)


async def test_a_shared_key_bounds_the_items_that_share_it(tmp_path: Path) -> None:
    busy = Busy()
    body = {"type": "noop", "config": {"of": "{{item}}"}, "concurrency_key": "only {{item.who}}"}
    async with engine(tmp_path, busy, 20, 20) as running:
        version = await running.define(Task("m", "map", {"items": "{{input}}", "task": body}))
        number, _ = await running.start(version, [{"who": "abc"[place % 3]} for place in range(12)])
        assert (await running.ended(number)).status is E.COMPLETED
    assert busy.most <= 3
    assert len(busy.done) == 12
