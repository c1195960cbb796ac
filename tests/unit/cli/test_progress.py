"""What `watch` shows: the status of each task after each event."""

from typing import Any

import pytest
from rich.console import Console

from commands.progress import STATUSES, Progress, line
from engine.events import Event

AT = "2026-11-20T12:00:0{}.000000Z"


def execution(*keys: str, **fields: Any) -> dict[str, Any]:
    task = {"name": "", "status": "pending", "attempt": 0, "error": None, "started_at": None, "completed_at": None}
    task["iteration"] = None
    return {
        "execution_id": 7,
        "status": "running",
        "last_seq": 1,
        "created_at": AT.format(0),
        "completed_at": None,
        "error": None,
        "tasks": [{"key": key, **task} for key in keys],
        **fields,
    }


def event(kind: str, second: int = 1, **data: Any) -> dict[str, Any]:
    return {"type": kind, "at": AT.format(second), "data": data}


def shown(progress: Progress, height: int = 50, width: int = 120) -> str:
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(progress.render())
    return capture.get()


def test_every_event_of_the_engine_has_a_status() -> None:
    known = {*STATUSES, "TaskFailed", "TakenOver", "SignalReceived", "CancelRequested"}
    assert {kind.__name__ for kind in Event.__args__} == known


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([event("TaskStarted", task="a")], "running"),
        ([event("TaskStarted", task="a"), event("TaskCompleted", 3, task="a")], "✔ a  completed  2.0 s"),
        ([event("TaskStarted", task="a"), event("TaskFailed", task="a", error={"message": "no"}, retry_in=1)], "↻ a"),
        ([event("TaskStarted", task="a", attempt=2)], "attempt 2"),
        ([event("TaskStarted", task="a"), event("TaskFailed", task="a", error={"message": "no"})], "✘ a  failed"),
        ([event("TaskSleeping", task="a")], "waiting"),
        ([event("TaskAwaiting", task="a", reason="waits for approval by anna")], "waits for approval by anna"),
        ([event("TaskFannedOut", task="a", count=2), event("TaskStarted", task="a[0]")], "a[0]  running"),
        ([event("TaskFannedOut", task="a", count=2), event("TaskStarted", task="a[0]")], "⏾ a     waiting"),
        ([event("TaskSkipped", task="a")], "↷ a  skipped"),
        ([event("TaskCancelled", task="a")], "■ a  cancelled"),
        ([event("ExecutionCompleted")], "execution 7  completed"),
        ([event("CompensationStarted")], "execution 7  compensating"),
        ([event("TaskStarted", task="a~compensate")], "a~compensate  running"),
        ([event("TaskStarted", task="a~compensate"), event("ExecutionFailed")], "execution 7  failed"),
        ([event("SignalReceived", name="a"), event("TakenOver", lost=["a"])], "execution 7  running"),
        ([event("SomethingOfALaterRelease", task="a")], "execution 7  running"),
    ],
)
def test_events_move_the_picture(events: list[dict[str, Any]], expected: str) -> None:
    progress = Progress(execution("a"))
    for happened in events:
        progress.apply(happened)
    assert expected in shown(progress)


def test_the_bar_counts_what_has_ended() -> None:
    progress = Progress(execution("a", "b", "c"))
    assert "0/3" in shown(progress)
    progress.apply(event("TaskCompleted", task="a"))
    progress.apply(event("TaskSkipped", task="b"))
    assert "2/3" in shown(progress)
    progress.apply(event("ExecutionFailed", 5, error={"message": "because", "type": "x"}))
    assert "3/3" in shown(progress)
    assert progress.conclusion() == "execution 7 failed after 5.0 s: because"


def test_a_small_screen_shows_what_matters() -> None:
    progress = Progress(execution(*(f"t{n}" for n in range(1000))))
    progress.apply(event("TaskStarted", task="t500"))
    progress.apply(event("TaskFailed", task="t700", error={"message": "no"}))
    picture = shown(progress, height=12)
    assert picture.count("\n") <= 12
    assert "t500" in picture
    assert "✘ t700" in picture
    assert "… and 993 more" in picture


def test_a_long_reason_takes_one_line() -> None:
    progress = Progress(execution("a"))
    progress.apply(event("TaskFailed", task="a", error={"message": "x" * 500}))
    assert shown(progress, width=80).count("\n") == 2
    assert "✘ a  failed" in shown(progress, width=80)


def test_a_lost_server_is_named_until_it_is_back() -> None:
    progress = Progress(execution("a"))
    progress.lost("no answer")
    assert "no answer; trying again" in shown(progress)
    progress.apply(event("TaskStarted", task="a"))
    assert "no answer" not in shown(progress)


def test_an_event_is_one_line_of_text() -> None:
    assert line(event("TaskStarted", task="a", attempt=2)) == f'{AT.format(1)}  TaskStarted  a  {{"attempt": 2}}'
    assert line(event("ExecutionCompleted")) == f"{AT.format(1)}  ExecutionCompleted"
