"""C24: planner, fold and runner against their twin, driven by chance.

An engine without a database: executions share a few slots, their appends are committed late, refused, or lost with
the whole process; outcomes, signals, cancels and time come at random. At every commit the journal is checked
against the twin event by event, and folded again from its stored bytes: what is rebuilt equals what is served.

`run_model(seed, steps)` answers how often each thing happened; any difference is an `AssertionError`.
"""

import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import msgspec

from engine.children import ChildEnd, Opening
from engine.graph import CompiledGraph
from engine.model import AwaitSignal, Completed, Failed, Failure, FanOut, Lost, Presentation, Result, Sleep, TaskCall
from engine.ports import NewExecution, Signal
from engine.runner import Run
from engine.slots import Slots
from engine.state import State
from engine.states import ExecutionStatus, TaskStatus
from engine.steps import Step
from engine.waits import OWN
from tests.chaos.planner_graphs import SIGNALS, random_graph, random_input
from tests.chaos.planner_journal import Counted, Journal, Move, fields
from tests.chaos.planner_waits import ANSWERS, RAISES, random_wait

LIVE = 4
"""Executions at once."""
KINDS = {
    "result": 34,
    "commit": 40,
    "pass_time": 12,
    "start": 10,
    "send": 6,
    "decide": 6,
    "child": 10,
    "cancel": 1,
    "repeat": 1,
    "refuse": 1,
    "crash": 1,
    "hand_over": 1,
}
"""What may happen, and how often."""
TASK_MOVES_NOW = """
    pending -> scheduled running failed skipped
    scheduled -> running failed cancelled
    running -> scheduled retrying waiting completed failed cancelled
    retrying -> scheduled running failed cancelled
    waiting -> scheduled retrying completed failed cancelled
"""
"""The legal moves that can occur now."""
EXECUTION_MOVES_NOW = """
    pending -> running completed failed cancelled
    running -> waiting compensating completed failed cancelled
    waiting -> running compensating completed failed cancelled
    compensating -> failed cancelled
"""
"""By commit. Not among them: pending -> waiting (the first commit only starts) and pausing."""


def _moves(kind: str, table: str) -> list[Move]:
    rows = [line.split() for line in table.strip().splitlines()]
    return [(kind, old, new) for old, _, *targets in rows for new in targets]


MOVES_NOW = [*_moves("task", TASK_MOVES_NOW), *_moves("execution", EXECUTION_MOVES_NOW)]


class World:
    """One engine after another over the same journals."""

    def __init__(self, rnd: random.Random) -> None:
        self.rnd = rnd
        self.now = 1_000_000.0
        self.counts: Counter[Counted] = Counter()
        self.journals: dict[int, Journal] = {}
        self.started = 0
        self.signals = 0
        self.old_calls: list[TaskCall] = []
        self._boot()

    def _boot(self) -> None:
        self.slots = Slots(self.rnd.choice((1, 2, 3, 5)))
        self.runs: dict[int, Run] = {}
        self.news: dict[int, Run] = {}
        self.steps: dict[int, Step] = {}
        self.calls: list[TaskCall] = []
        self.kept: dict[int, State] = {}
        """States of executions that left memory, as `engine.kept` has them."""

    def step(self) -> None:
        """One thing happens, and all that must hold is checked."""
        kinds = [kind for kind in KINDS if self._can(kind)]
        kind = self.rnd.choices(kinds, [KINDS[kind] for kind in kinds])[0]
        getattr(self, kind)()
        self.counts[kind] += 1
        self.go_on()

    def _can(self, kind: str) -> bool:
        match kind:
            case "start":
                return len(self.journals) < LIVE
            case "result":
                return bool(self.calls)
            case "commit" | "refuse":
                return bool(self.steps)
            case "hand_over":
                return bool(self._quiet())
            case "decide" | "child":
                what = [j.waits.open() if kind == "decide" else j.state.children for j in self.journals.values()]
                return any(what)
            case "repeat":
                return bool(self.old_calls)
            case "send" | "cancel":
                return any(journal.stored for journal in self.journals.values())
            case _:
                return True

    def go_on(self) -> None:
        """What an engine does of itself: it takes what is due and moves what has news."""
        if self.rnd.random() < 0.5:
            self._claim()
        while self.news:
            run = self.news.pop(self.rnd.choice(list(self.news)))
            if not run.dropped and run.state.execution_id not in self.steps:
                self._advance(run)
        self._check_slots()

    # --- what may happen ---

    def start(self) -> None:
        self.started += 1
        number, graph, value = self.started, random_graph(self.rnd), random_input(self.rnd)
        compiled = CompiledGraph(graph, Presentation())
        journal = self.journals[number] = Journal(number, graph, compiled, self.counts)
        if self.rnd.random() < 0.5:
            journal.leave(value, self._tick())
            return
        journal.owned = True
        run = self.runs[number] = Run(number, compiled, self.slots, self._wake)
        run.now = self.now
        run.begin(NewExecution("default", 1, 1, ExecutionStatus.PENDING, True), value)
        self._wake(run)

    def result(self) -> None:
        """An attempt that runs comes to some end."""
        call = self.calls.pop(self.rnd.randrange(len(self.calls)))
        self._outlive([call])
        again = call.attempt > 1 and self.rnd.random() < 0.2  # who was given more budget may not ask again
        result = random_wait(self.rnd) if again else random_result(self.rnd, self.now, call)
        run = self.runs.get(call.execution_id)
        if run is not None and run.flying.get(call.address) is call:
            self.journals[call.execution_id].expected[call.address] = result
        self._report(call, result)

    def repeat(self) -> None:
        """A second report of an attempt, or one that comes when nobody waits for it; best while the next one runs."""
        again = [
            c for c in self.old_calls if c.execution_id in self.runs and c.address in self.runs[c.execution_id].flying
        ]
        call = self.rnd.choice(again or self.old_calls)
        self._report(call, random_result(self.rnd, self.now, call))

    def commit(self) -> None:
        self._commit(self.rnd.choice(list(self.steps)))

    def refuse(self) -> None:
        """The store does not take an append: the run is dropped and the execution read again."""
        number = self.rnd.choice(list(self.steps))
        self._refuse(number)

    def _refuse(self, number: int) -> None:
        run, step = self.runs[number], self.steps.pop(number)
        self._forget(run)
        self._stop_calls(number)
        if step.append.start is not None:
            del self.journals[number]
        else:
            self._load(self.journals[number])

    def pass_time(self) -> None:
        self.now += self.rnd.choice((0.1, 1.0, 5.0))
        for run in self.runs.values():
            run.now = self.now
            if run.has_news:
                self._wake(run)

    def send(self) -> None:
        self._put(self._any_journal(), "event", self.rnd.choice(SIGNALS))

    def child(self) -> None:
        """A child ends, in one way or another; sometimes one of which nobody wants to know any more."""
        journal = self.rnd.choice([journal for journal in self.journals.values() if journal.state.children])
        late = self.rnd.random() < 0.4
        number = self.rnd.choice(list(journal.ends if late and journal.ends else journal.state.children))
        self._end_child(journal, number)

    def cancel(self) -> None:
        self._put(self._any_journal(), "cancel", "cancel")

    def decide(self) -> None:
        """Somebody answers a wait that the world can see, whatever its execution is about to say."""
        journal = self.rnd.choice([journal for journal in self.journals.values() if journal.waits.open()])
        self._decide(journal, self.rnd.choice(journal.waits.open()))

    def _decide(self, journal: Journal, task: str) -> None:
        self.signals += 1
        answer = RAISES if self.rnd.random() < 0.4 else self.rnd.choice(ANSWERS)
        self._deliver(journal, journal.waits.decide(task, self.signals, journal.id, answer))

    def crash(self) -> None:
        """The process dies: what was in flight landed or not; another engine takes over.

        Some attempts go on in executors that outlive their engine.
        """
        for number in list(self.steps):
            if self.rnd.random() < 0.5:
                self._commit(number)
        alive = [call for call in self.calls if self.rnd.random() < 0.5]
        self._outlive(self.calls)
        unborn = [number for number, step in self.steps.items() if step.append.start is not None]
        self._boot()
        for number in unborn:
            del self.journals[number]
        for journal in self.journals.values():
            if journal.owned:
                self._load(journal, alive)

    def hand_over(self) -> None:
        """The owner gives an execution away; what ran of it is stopped."""
        run = self.rnd.choice(self._quiet())
        number = run.state.execution_id
        flying = list(run.flying.values())
        self._stop_calls(number)
        self.journals[number].given_up = True
        self.journals[number].planned_at = run.now
        self.steps[number] = run.hand_over(flying)
        self.counts["handed over with attempts"] += bool(flying)

    def _quiet(self) -> list[Run]:
        """Runs with nothing to say and nothing on its way."""
        return [run for n, run in self.runs.items() if n not in self.steps and not run.has_news and not run.dropped]

    # --- the engine around the runs ---

    def _tick(self) -> float:
        self.now += 0.001
        return self.now

    def _wake(self, run: Run) -> None:
        self.news[run.state.execution_id] = run

    def _report(self, call: TaskCall, result: Result | Opening) -> None:
        run = self.runs.get(call.execution_id)
        if run is not None:
            run.result(call, result, 0.25)
            self._wake(run)

    def _any_journal(self) -> Journal:
        return self.rnd.choice([journal for journal in self.journals.values() if journal.stored])

    def _put(self, journal: Journal, kind: str, name: str) -> None:
        if kind == "cancel" and any(s.kind == "cancel" for s in journal.inbox.values()):
            return
        self.signals += 1
        payload = b"%d" % self.signals if kind == "event" else b"null"
        dedupe = self.rnd.choice((None, None, None, "one", "two")) if kind == "event" else "cancel"
        self._deliver(journal, Signal(journal.id, kind, name, payload, dedupe, self.signals))

    def _deliver(self, journal: Journal, signal: Signal) -> None:
        journal.inbox[signal.id] = signal
        journal.wake_at = self.now
        run = self.runs.get(journal.id)
        if run is not None:
            for _ in range(self.rnd.choice((1, 1, 2))):
                run.signal(signal)
            self._wake(run)

    def _end_child(self, journal: Journal, number: int) -> None:
        """Each child ends once; a store that tells it twice does no harm."""
        if number not in journal.ends:
            status = self.rnd.choice((ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED))
            output = {"v": self.rnd.random() < 0.6} if status is ExecutionStatus.COMPLETED else None
            error = (
                Failure(self.rnd.choice(("boom", "fatal")), "it broke") if status is ExecutionStatus.FAILED else None
            )
            journal.ends[number] = ChildEnd(number, status, output, error)
        self.signals += 1
        data = msgspec.json.encode(journal.ends[number])
        self._deliver(journal, Signal(journal.id, "child", "child", data, f"child:{number}", self.signals))

    def _claim(self) -> None:
        for journal in self.journals.values():
            if not journal.owned and journal.stored and journal.wake_at is not None and journal.wake_at <= self.now:
                self._load(journal)

    def _load(self, journal: Journal, alive: Sequence[TaskCall] = ()) -> None:
        journal.owned, journal.given_up = True, False
        journal.expected.clear()
        journal.check_rebuilt()
        run = self.runs[journal.id] = Run(journal.id, journal.compiled, self.slots, self._wake, journal.status)
        kept = self.kept.pop(journal.id, None) if self.rnd.random() < 0.5 else None
        run.load(journal.stored[kept.seq if kept else 0 :], self.now, kept)
        assert fields(run.state) == fields(journal.state), "what was kept is not what is stored"
        self.counts["kept"] += kept is not None
        running = run.running()
        for call in running:
            began = journal.state.tasks[call.address].started_at
            assert began is not None
            journal.check_call(call, began)
        attached = [call for call in running if call in alive]
        journal.attached = {call.address for call in attached}
        run.resume(running, {id(call) for call in attached})
        self.calls += attached
        self.counts["attached"] += len(attached)
        for signal in journal.inbox.values():
            run.signal(signal)
        self._wake(run)

    def _advance(self, run: Run) -> None:
        step = run.advance()
        self.journals[run.state.execution_id].planned_at = run.now
        if step is not None:
            self.steps[run.state.execution_id] = step
            if step.ended:
                assert not run.flying
                assert not run.wanted
        else:
            assert run.state.busy, "an execution that waits stays in memory"

    def _commit(self, number: int) -> None:
        if self.journals[number].waits.refuses(self.steps[number].append):
            self.counts["refused for a decision"] += 1
            self._refuse(number)
            return
        run, step, journal = self.runs[number], self.steps.pop(number), self.journals[number]
        journal.commit(run, step, self._tick())
        self._outlive(step.cancels)
        self.calls = [call for call in self.calls if call not in step.cancels]
        if step.ended or step.parked:
            self._forget(run)
            if step.parked and not run.state.busy:
                self.kept[number] = run.state
        else:
            self._outlive(step.cancels)
            self.calls = [call for call in self.calls if id(call) not in {id(c) for c in step.cancels}] + step.calls
            if run.has_news:
                self._wake(run)
        if step.ended:
            self._stop_calls(number)
            journal.check_rebuilt()
            del self.journals[number]
            self.counts["ended"] += 1

    def _stop_calls(self, number: int) -> None:
        self._outlive([call for call in self.calls if call.execution_id == number])
        self.calls = [call for call in self.calls if call.execution_id != number]

    def _outlive(self, calls: Sequence[TaskCall]) -> None:
        """These may report once more, though nobody should listen."""
        self.old_calls = [*self.old_calls, *calls][-8:]

    def _forget(self, run: Run) -> None:
        run.drop()
        del self.runs[run.state.execution_id]
        self.news.pop(run.state.execution_id, None)

    def _check_slots(self) -> None:
        held = sum(len(run.flying) + len(run._granted) for run in self.runs.values())
        assert self.slots.free + held == self.slots.size, "a slot leaked"
        for run in self.runs.values():
            flying = {run.state.tasks[address].status for address in run.flying}
            assert flying <= {TaskStatus.RUNNING}, "an attempt goes on that nobody waits for"
        waiting = sum(len(run.wanted) for run in self.runs.values())
        assert not (self.slots.free > 0 and waiting), "a slot is free and a task waits"

    # --- the end ---

    def drain(self) -> None:
        """Everything that was begun comes to its end, once nothing disturbs it."""
        for _ in range(2_000):
            if not self.journals:
                return
            if self.steps:
                self.commit()
            elif self.calls:
                self.result()
            else:
                self.pass_time()
                for journal in list(self.journals.values()):
                    for name in journal.awaited():
                        if not name.startswith(OWN):
                            self._put(journal, "event", name)
                    for task in journal.waits.open():
                        self._decide(journal, task)
                    for number in journal.state.children:
                        self._end_child(journal, number)
            self.go_on()
        raise AssertionError(f"stuck: {[journal.events for journal in self.journals.values()]}")


def random_result(rnd: random.Random, now: float, call: TaskCall) -> Result | Opening:
    """How an attempt may come out."""
    if call.type in ("map", "loop") and rnd.random() < 0.9:
        if call.type == "loop":
            return FanOut(call.config["max_rounds"])
        return FanOut(len(call.config["items"]), rnd.choice((1, 2, 20, 20)), rnd.choice((0, 0, 1, 5)))
    return random_end(rnd, now)


def random_end(rnd: random.Random, now: float) -> Result | Opening:
    """The same of a task that runs no other."""
    chance = rnd.random()
    if chance < 0.06:
        return Lost("its process died", suspect=rnd.random() < 0.7)
    if chance < 0.55:
        output = rnd.choice((None, 1, {"v": rnd.random() < 0.6}, {"v": [1, {"x": "é"}]}))
        return Completed(output, rnd.choice((None, None, "yes", "no", "other")))
    if chance < 0.8:
        error = Failure(rnd.choice(("boom", "boom", "fatal")), "it broke", "somewhere")
        return Failed(error, retryable=rnd.random() < 0.8)
    if chance < 0.9:
        moment = now + rnd.choice((-1.0, 0.5, 4.0))
        return Sleep(rnd.choice((0.0, 1.0, 6.0)), rnd.choice((None, moment)), output={"v": 1})
    if chance < 0.95:
        if chance < 0.93:
            return Opening(rnd.getrandbits(50) + 1, 1, 1, {"n": 1}, wait=rnd.random() < 0.8)
        return random_wait(rnd)
    return AwaitSignal(rnd.choice(SIGNALS), rnd.choice((None, 0.0, 2.0, 8.0)))


def run_model(seed: int, steps: int) -> Counter[Counted]:
    """`steps` things at random, then a quiet end. The counts, by what happened and by each move."""
    random.seed(seed)  # the jitter of retries
    world = World(random.Random(seed))
    for _ in range(steps):
        world.step()
    world.drain()
    return world.counts


def rare_moves(counts: Counter[Counted], least: int) -> list[str]:
    """The legal moves that occurred fewer than `least` times."""
    return [f"{' '.join(move)}: {counts[move]}" for move in MOVES_NOW if counts[move] < least]


def run_many(seed: int, steps: int, processes: int) -> Counter[Counted]:
    """`run_model` in parts of 5,000 steps, each with its own seed, over several processes."""
    parts = range(seed, seed + max(1, steps // 5_000))
    with ProcessPoolExecutor(processes) as pool:
        return sum(pool.map(run_model, parts, [min(steps, 5_000)] * len(parts)), Counter[Counted]())


def main() -> int:
    """`python -m tests.chaos.planner_model SEED STEPS PROCESSES`."""
    seed, steps, processes = (int(text) for text in (*sys.argv[1:], "1", "100000", "2")[:3])
    began = time.monotonic()
    counts = run_many(seed, steps, processes)
    took = time.monotonic() - began
    for what, count in sorted(counts.items(), key=str):
        print(f"{count:>10}  {' '.join(what) if isinstance(what, tuple) else what}")
    print(f"seed {seed}: {steps} steps in {took:.1f} s, {steps / took:,.0f} steps/s")
    rare = rare_moves(counts, 100)
    print("\n".join(f"too rare: {move}" for move in rare))
    return 1 if rare else 0


if __name__ == "__main__":
    sys.exit(main())
