"""C24 in small: the planner, the fold and the runner against their twin; and that the twin sees a missing guard."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine import fans, outcomes, planner, runner, state, timers
from engine.fans import Fan, Fans
from engine.slots import Slots
from engine.state import State
from engine.steps import NextStep, Step
from tests.chaos import planner_journal, planner_twin
from tests.chaos.planner_model import MOVES_NOW, World, rare_moves, run_model


@given(st.randoms(use_true_random=False), st.integers(5, 120))
@settings(max_examples=40)
def test_nothing_differs_from_the_twin(rnd: random.Random, steps: int) -> None:
    world = World(rnd)
    for _ in range(steps):
        world.step()
    world.drain()


def test_every_move_of_today_occurs() -> None:
    counts = run_model(20_261_121, 9_000)
    assert rare_moves(counts, 1) == []
    assert counts["ended"] > 500
    for ended in ("map completed", "map items_failed", "map inside completed", "loop completed", "loop max_rounds"):
        assert counts[ended] > 5, ended
    assert counts["asked again"] > 0
    assert len(MOVES_NOW) == len(set(MOVES_NOW)) == 38


def small_results(patch: pytest.MonkeyPatch) -> None:
    """The items of a map may put out a few bytes: what is drawn here is never large."""
    patch.setattr(planner_twin, "RESULTS", 25)
    patch.setattr(Fan, "is_too_large", property(lambda fan: fan.size > 25))


def test_a_map_ends_when_its_items_have_put_out_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    small_results(monkeypatch)
    counts = run_model(20_261_127, 6_000)
    for ended in ("map output_too_large", "map inside output_too_large", "map completed", "map items_failed"):
        assert counts[ended] > 0, ended
    assert counts["runs cancelled while their execution went on"] > 5


# --- sabotage: with a guard removed, the model fails ---


def starts_while_stopping(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(State, "bars", lambda self, key: False)


def forgets_a_label(patch: pytest.MonkeyPatch) -> None:
    settle = state._settle
    patch.setattr(
        state, "_settle", lambda s, vertex, label, unlabelled=True: settle(s, vertex, None, unlabelled=unlabelled)
    )


def passes_no_skip_on(patch: pytest.MonkeyPatch) -> None:
    settle = state._settle
    patch.setattr(state, "_settle", lambda s, vertex, label, unlabelled=True: settle(s, vertex, label))


def does_not_wait_for_the_join(patch: pytest.MonkeyPatch) -> None:
    def eager(s: State, vertex: Any, label: str | None, *, unlabelled: bool = True) -> None:
        settle(s, vertex, label, unlabelled=unlabelled)
        for _, target in vertex.out:
            if s.graph.vertices[target].key not in s.tasks:
                s.ready[target] = None
                s.remaining[target] = 0

    settle = state._settle
    patch.setattr(state, "_settle", eager)


def retries_once_more(patch: pytest.MonkeyPatch) -> None:
    retry = planner.next_retry
    patch.setattr(runner, "next_retry", lambda policy, failures, *rest: retry(policy, failures - 1, *rest))


def fires_early(patch: pytest.MonkeyPatch) -> None:
    stamp_due = timers.stamp_due
    patch.setattr(runner, "stamp_due", lambda s, event, at: stamp_due(s, event, at - 0.5))


def leaks_a_slot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Slots, "release", lambda self: None)


def takes_any_report(patch: pytest.MonkeyPatch) -> None:
    take = runner.Run._take_result

    def any_call(self: runner.Run, call: Any, result: Any, elapsed: float) -> None:
        take(self, self.flying.get(call.task, call), result, elapsed)

    patch.setattr(runner.Run, "_take_result", any_call)


def takes_a_signal_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runner.Run, "signal", lambda self, signal: self._signals.append(signal))


def hears_a_key_twice(patch: pytest.MonkeyPatch) -> None:
    def apply(s: State, event: ev.Event, size: int) -> None:
        fold(s, event, size)
        s.heard.clear()

    fold = state.apply
    patch.setattr(state, "apply", apply)
    patch.setattr(runner, "apply", apply)
    patch.setattr(planner_journal, "apply", apply)


def forgets_the_lost(patch: pytest.MonkeyPatch) -> None:
    resume = runner.Run.resume
    patch.setattr(runner.Run, "resume", lambda self, running, attached: resume(self, [], attached))


def begins_again_what_is_attached(patch: pytest.MonkeyPatch) -> None:
    resume = runner.Run.resume
    patch.setattr(runner.Run, "resume", lambda self, running, attached: resume(self, running, ()))


def starts_early_in_the_seq(patch: pytest.MonkeyPatch) -> None:
    finish = runner.Run._finish

    def off_by_one(self: runner.Run) -> Step:
        self.state.seq += 1
        return finish(self)

    patch.setattr(runner.Run, "_finish", off_by_one)


def keeps_what_it_did_not_write(patch: pytest.MonkeyPatch) -> None:
    record = runner.Run._record

    def other(self: runner.Run, event: ev.Event, stored: ev.EventRecord) -> None:
        if isinstance(event, ev.TaskCompleted):
            event = ev.TaskCompleted(event.task, "other", event.label)
        record(self, event, stored)

    patch.setattr(runner.Run, "_record", other)


def closes_no_wait(patch: pytest.MonkeyPatch) -> None:
    finish = NextStep.finish

    def silent(self: NextStep, *rest: Any) -> Step:
        self.lapses = ()
        return finish(self, *rest)

    patch.setattr(NextStep, "finish", silent)


def follows_no_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outcomes, "answered", lambda vertex, key, answer: ev.TaskCompleted(key, answer.output))


def undoes_forwards(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(planner, "reversed", iter, raising=False)


def undoes_twice(patch: pytest.MonkeyPatch) -> None:
    leave = state._leave

    def keeps(s: State, key: str) -> Any:
        undo = dict(s.undo)
        task = leave(s, key)
        s.undo = undo
        return task

    patch.setattr(state, "_leave", keeps)


def undoes_beside_what_runs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runner.Run, "_stop", lambda self, key: None)


def forgets_to_undo(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(planner, "_stop", lambda s: planner.Decision([], [], planner._end(s)))


def ends_before_all_is_undone(patch: pytest.MonkeyPatch) -> None:
    compensate = planner._compensate
    end = planner._end
    patch.setattr(planner, "_compensate", lambda s: compensate(s) if s.active else planner.Decision([], [], end(s)))


def is_cancelled_while_it_undoes(patch: pytest.MonkeyPatch) -> None:
    class Never:
        COMPENSATING = "never"

    patch.setattr(runner, "ExecutionStatus", Never)


def opens_more_than_may(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Fan, "stirs", property(lambda fan: not fan.over and (fan.opened < fan.count or not fan.open)))


def tolerates_one_more(patch: pytest.MonkeyPatch) -> None:
    begin = Fans.begin

    def generous(self: Fans, outer: str, fan: Fan) -> None:
        fan.tolerated += 1
        begin(self, outer, fan)

    patch.setattr(Fans, "begin", generous)


def fills_the_line(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fans, "IN_LINE", 1_000)


def forgets_that_a_run_failed(patch: pytest.MonkeyPatch) -> None:
    end = Fans.end
    patch.setattr(Fans, "end", lambda self, ended, failed: end(self, ended, failed=False))


def mixes_up_results(patch: pytest.MonkeyPatch) -> None:
    first = Fan.first
    patch.setattr(Fan, "first", lambda fan, outer: reversed(list(first(fan, outer))))


def puts_out_as_much_as_it_likes(patch: pytest.MonkeyPatch) -> None:
    small_results(patch)
    patch.setattr(Fan, "is_too_large", property(lambda fan: False))


def forgets_how_much_a_failure_says(patch: pytest.MonkeyPatch) -> None:
    small_results(patch)
    collect = Fans.collect

    def silent(self: Fans, ended: str, output: Any) -> None:
        if not (isinstance(output, list) and output[:1] == ["boom"]):
            collect(self, ended, output)

    patch.setattr(Fans, "collect", silent)


def forgets_its_children(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runner, "let_go", lambda state, key: ())


def asks_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outcomes, "check_ask", lambda asked, outcome: None)


def lasts_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runner, "overstepped", lambda s, now: None)


def lets_who_waits_wait(patch: pytest.MonkeyPatch) -> None:
    """As it was once: the time of a task is looked at when it gets its slot, and not before."""
    stamp_deadline = timers.stamp_deadline

    def silent(s: State, event: ev.Event, at: float) -> None:
        if not isinstance(event, ev.TaskFannedOut):
            patch.setattr(timers, "_set_timer", lambda *_: None)
            stamp_deadline(s, event, at)
            patch.setattr(timers, "_set_timer", set_timer)

    set_timer = timers._set_timer
    for module in (timers, runner):
        patch.setattr(module, "stamp_deadline", silent)


def lets_runs_go_on(patch: pytest.MonkeyPatch) -> None:
    overdue = planner.overdue
    patch.setattr(runner, "overdue", lambda s, key: list(overdue(s, key))[-1:])


def gives_each_attempt_all_the_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runner, "time_left", lambda s, key, now: s.graph.by_key[key].task.total_timeout or 1e9)


SABOTAGE: list[Callable[[pytest.MonkeyPatch], None]] = [
    starts_while_stopping,
    forgets_a_label,
    passes_no_skip_on,
    does_not_wait_for_the_join,
    retries_once_more,
    fires_early,
    leaks_a_slot,
    takes_any_report,
    takes_a_signal_twice,
    hears_a_key_twice,
    forgets_the_lost,
    begins_again_what_is_attached,
    starts_early_in_the_seq,
    keeps_what_it_did_not_write,
    closes_no_wait,
    follows_no_answer,
    undoes_forwards,
    undoes_twice,
    undoes_beside_what_runs,
    forgets_to_undo,
    ends_before_all_is_undone,
    is_cancelled_while_it_undoes,
    opens_more_than_may,
    tolerates_one_more,
    fills_the_line,
    forgets_that_a_run_failed,
    mixes_up_results,
    puts_out_as_much_as_it_likes,
    forgets_how_much_a_failure_says,
    forgets_its_children,
    asks_again,
    lasts_for_ever,
    lets_who_waits_wait,
    lets_runs_go_on,
    gives_each_attempt_all_the_time,
]


@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_the_model_sees_a_missing_guard(
    sabotage: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch)
    with pytest.raises((AssertionError, KeyError, IndexError)):
        many_models()


def many_models() -> None:
    for seed in range(60):
        run_model(seed, 300)
