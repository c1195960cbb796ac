"""What is kept of executions that left memory, and that waking one does not read its whole history."""

from pathlib import Path
from typing import Any

import pytest

from engine import events as ev
from engine import kept, limits
from engine.graph import CompiledGraph
from engine.kept import LEAST, KeptStates
from engine.model import FanOut, Graph, Presentation, Sleep, Task
from engine.state import EVENT, State
from engine.states import ExecutionStatus as E
from tests.unit.engine.harness import Engine


def state(number: int, events: int, size: int = 0) -> State:
    made = State(number, CompiledGraph(Graph((Task("a"),)), Presentation()))
    made.seq, made.size = events, size
    return made


def test_long_histories_are_kept_and_handed_out_once() -> None:
    states = KeptStates()
    short, long = state(1, LEAST - 1), state(2, LEAST)
    states.keep(short)
    states.keep(long)
    assert states.take(1) is None
    assert states.take(2) is long
    assert states.take(2) is None


def test_what_is_busy_is_not_kept() -> None:
    states, busy = KeptStates(), state(1, LEAST)
    busy.busy = 1
    states.keep(busy)
    assert len(states) == 0


def test_they_are_bounded_by_their_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 5 * LEAST * EVENT)
    states = KeptStates()
    for number in (1, 2, 3, 2, 4, 5, 6):
        states.keep(state(number, LEAST))
    assert len(states) == 5
    assert states.take(1) is None
    states.keep(state(7, 6 * LEAST))
    assert len(states) == 0
    states.keep(state(8, LEAST))
    assert len(states) == 1


def test_they_are_bounded_by_the_bytes_of_their_events() -> None:
    """Few events may hold very much: a payload has up to 1 MiB."""
    states = KeptStates()
    for number in range(1, 101):
        states.keep(state(number, LEAST, LEAST * limits.PAYLOAD // 10))
    assert len(states) == 6
    assert states.take(94) is None
    assert states.take(95) is not None


async def test_a_wake_up_reads_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop of many naps: each of them leaves memory."""
    rounds = 120
    engine = Engine(tmp_path)
    engine.handlers["loop"] = lambda call: FanOut(rounds)
    engine.handlers["noop"] = lambda call: Sleep(0.0, output=call.config["round"])
    read: list[int] = []
    read_events = engine.store.read_events

    async def counted(after: Any, *rest: Any) -> dict[int, list[ev.StoredEvent]]:
        found = await read_events(after, *rest)
        read.extend(len(events) for events in found.values())
        return found

    monkeypatch.setattr(engine.store, "read_events", counted)
    body = {"type": "noop", "config": {"round": "{{round}}"}}
    async with engine as running:
        config = {"task": body, "while": f"{{{{round}}}} <= {rounds - 1}", "max_rounds": rounds}
        version = await running.define(Task("l", "loop", config))
        number, _ = await running.start(version)
        row = await running.ended(number)
    assert row.status is E.COMPLETED
    assert max(read) <= LEAST + 10, "a long history was read again"
    assert len(read) > rounds - 5
