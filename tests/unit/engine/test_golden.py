"""Executions that an earlier release stored are read as it meant them.

`tests/golden/v<n>.jsonl` is never changed: a line per execution with its graph, one per event, one with the state
that they amount to. A release that writes another format adds a file.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import events as ev
from engine.graph import CompiledGraph, load
from engine.planner import NOTHING, plan
from engine.state import State, apply
from engine.states import TASK_MOVES, TaskStatus
from engine.task_state import TaskState
from engine.timers import replay

FOLDER = Path(__file__).parents[2] / "golden"
FILES = {"v1.jsonl": "0e9b1f9d965149539a6a5a61ded8e02f74dc6c5defb33a18f8cfa3766f0273bf"}


@pytest.fixture(params=sorted(FILES))
def lines(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / request.param).read_text().splitlines()]


def test_the_files_are_those_of_their_releases() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.jsonl")}
    assert found == FILES


def test_every_event_of_today_is_there(lines: list[dict[str, Any]]) -> None:
    assert {kind.__name__ for kind in ev.Event.__args__} <= {line.get("type") for line in lines}


def test_the_journal_folds_to_what_it_meant(lines: list[dict[str, Any]]) -> None:
    for graph, events, expected in executions(lines):
        state = State(events[0].execution_id, graph)
        replay(state, events)
        assert folded(state) == expected
        assert plan(state) == NOTHING


def test_an_event_is_still_written_as_it_was(lines: list[dict[str, Any]]) -> None:
    for _, events, _ in executions(lines):
        assert [ev.encode(ev.decode(old)).data for old in events] == [old.data for old in events]


def test_every_move_was_legal(lines: list[dict[str, Any]]) -> None:
    for graph, events, _ in executions(lines):
        state = State(events[0].execution_id, graph)
        for stored in events:
            before = {key: task.status for key, task in state.tasks.items()}
            apply(state, ev.decode(stored), len(stored.data))
            for key, task in state.tasks.items():
                old = before.get(key, TaskStatus.PENDING)
                assert task.status is old or task.status in TASK_MOVES[old]


def executions(
    lines: list[dict[str, Any]],
) -> Iterator[tuple[CompiledGraph, list[ev.StoredEvent], dict[str, Any]]]:
    """Graph, events and expected state of each."""
    for number in dict.fromkeys(line["execution"] for line in lines):
        head, *body, last = (line for line in lines if line["execution"] == number)
        graph = load(json.dumps(head["graph"]).encode(), json.dumps(head["presentation"]).encode())
        yield graph, [stored(line) for line in body], last["expect"]


def stored(line: dict[str, Any]) -> ev.StoredEvent:
    data = msgspec.json.encode(line["data"])
    return ev.StoredEvent(line["execution"], line["seq"], line["type"], line["v"], line["at"], line["lease"], data)


def folded(state: State) -> dict[str, Any]:
    """What an execution is to those who read it."""
    names = ("seq", "status", "input", "error", "started_at", "ended_at", "cancelling", "cancel_reason")
    plain: dict[str, Any] = {name: msgspec.to_builtins(getattr(state, name)) for name in names}
    if state.usage is not None:
        plain["usage"] = msgspec.to_builtins(state.usage)
    return {**plain, "output": state.output(), "tasks": {key: _task(task) for key, task in state.tasks.items()}}


def _task(task: TaskState) -> dict[str, Any]:
    fields = {name: msgspec.to_builtins(getattr(task, name)) for name in task.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not None}
