"""An execution on the screen: a line per task, kept up to date by its events."""

import re
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from commands.output import COLOURS, cell, duration

ENDED = frozenset({"completed", "failed", "skipped", "cancelled"})
STATUSES = {
    "TaskScheduled": "scheduled",
    "TaskStarted": "running",
    "TaskLost": "scheduled",
    "TaskCompleted": "completed",
    "TaskSleeping": "waiting",
    "TaskAwaiting": "waiting",
    "TaskFannedOut": "waiting",
    "ChildStarted": "waiting",
    "BudgetRaised": "scheduled",
    "TaskSkipped": "skipped",
    "TaskCancelled": "cancelled",
    "ExecutionStarted": "running",
    "CompensationStarted": "compensating",
    "ExecutionCompleted": "completed",
    "ExecutionFailed": "failed",
    "ExecutionCancelled": "cancelled",
}
SIGNS = {"completed": "✔", "failed": "✘", "skipped": "↷", "cancelled": "■", "waiting": "⏾", "retrying": "↻"}
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
BAR = 40
AROUND = 5
"""Lines of the screen that are not tasks."""
_KEY = re.compile(r"[\[.]")
"""Where the key of a task ends in the address of an item or round."""
_NOTHING_YET = {"status": "pending", "attempt": 0, "error": None, "started_at": None, "completed_at": None}
Event = dict[str, Any]


COMPENSATION = "~compensate"
"""How the key of what undoes a task ends; it is none of the tasks that were there at first."""
_NEW = {"name": "", **_NOTHING_YET}


class Row:
    """One task, one item or round of it, or what undoes it."""

    def __init__(self, task: dict[str, Any], iteration: str) -> None:
        self.key: str = task["key"] + iteration
        self.name: str = task["name"] or task["key"]
        self.status: str = task["status"]
        self.attempt: int = task["attempt"]
        self.note: str = task["error"]["message"] if task["error"] else task.get("reason") or ""
        self.started = _epoch(task["started_at"])
        self.ended = _epoch(task["completed_at"])

    def apply(self, event: Event) -> None:
        data, at = event["data"], _epoch(event["at"])
        self.status = _status_after(event)
        if event["type"] == "TaskStarted":
            self.attempt, self.started, self.ended, self.note = data.get("attempt", 1), at, None, ""
        elif event["type"] == "TaskFailed":
            self.note = data["error"]["message"]
        elif event["type"] in ("TaskAwaiting", "TaskCompleted"):
            self.note = data.get("reason") or ""
        if self.status in ENDED:
            self.ended = at

    def took(self) -> float | None:
        if self.started is None:
            return None
        return max(0.0, (self.ended or time.time()) - self.started)


class Progress:
    """The execution; `status` is the latest known."""

    def __init__(self, execution: dict[str, Any]) -> None:
        self.id: int = execution["execution_id"]
        self.status: str = execution["status"]
        self.last_seq: int = execution["last_seq"]
        self._rows = {row.key: row for row in (Row(task, task["iteration"] or "") for task in execution["tasks"])}
        self._tasks = {task["key"]: {**task, **_NOTHING_YET} for task in execution["tasks"]}
        self._created = _epoch(execution["created_at"])
        self._ended = _epoch(execution["completed_at"])
        self._error: str = execution["error"]["message"] if execution["error"] else ""
        self._note = ""

    def apply(self, event: Event) -> None:
        self._note = ""
        address = event["data"].get("task", "")
        key = _KEY.split(address, 1)[0]
        if address not in self._rows and (address != key in self._tasks or address.endswith(COMPENSATION)):
            self._rows[address] = Row(self._tasks.get(key, {**_NEW, "key": key}), address.removeprefix(key))
        row = self._rows.get(address)
        if row is not None:
            row.apply(event)
        elif event["type"].startswith(("Execution", "Compensation")):
            self._apply_to_execution(event)

    def _apply_to_execution(self, event: Event) -> None:
        self.status = _status_after(event)
        if self.status in ENDED:
            self._ended = _epoch(event["at"])
            self._error = (event["data"].get("error") or {}).get("message", "")
            for row in self._rows.values():
                row.status = row.status if row.status in ENDED else "skipped"

    def lost(self, message: str) -> None:
        """The server is away."""
        self._note = f"{message}; trying again"

    def conclusion(self) -> str:
        """The last line, when it has ended."""
        took = duration((self._ended or time.time()) - (self._created or time.time()))
        reason = f": {self._error}" if self._error else ""
        return f"execution {self.id} {self.status} after {took}{reason}"

    def render(self) -> RenderableType:
        return _Screen(self)

    def lines(self, height: int) -> list[RenderableType]:
        """What fits into `height` lines of the screen."""
        ended = sum(row.status in ENDED for row in self._rows.values())
        shown = _most_interesting(self._rows.values(), max(3, height - AROUND))
        hidden = len(self._rows) - len(shown)
        return [
            _head(self, ended, len(self._rows), duration((self._ended or time.time()) - (self._created or 0))),
            _table(shown),
            *([Text(f"  … and {hidden} more", style="bright_black")] if hidden else []),
            *([Text(self._note, style="yellow")] if self._note else []),
        ]


class _Screen:
    """Asks for its lines when it knows how high the screen is."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[RenderableType]:
        yield Group(*self._progress.lines(console.height))


def line(event: Event) -> str:
    """An event as one line of text."""
    data = {name: value for name, value in event["data"].items() if name != "task"}
    parts = (event["at"], event["type"], event["data"].get("task", ""), cell(data) if data else "")
    return "  ".join(part for part in parts if part)


def _status_after(event: Event) -> str:
    if event["type"] == "TaskFailed":
        return "failed" if event["data"].get("retry_in") is None else "retrying"
    return STATUSES.get(event["type"], "running")


def _most_interesting(rows: Iterable[Row], count: int) -> list[Row]:
    """In their order; when there are too many, first what is open, then what failed, then what ended last."""
    rows = list(rows)
    if len(rows) <= count:
        return rows
    ranked = sorted(rows, key=lambda row: (_rank(row.status), -(row.ended or 0)))
    chosen = {row.key for row in ranked[:count]}
    return [row for row in rows if row.key in chosen]


def _rank(status: str) -> int:
    order = ("running", "retrying", "failed", "waiting", "scheduled", "completed", "cancelled", "pending")
    return order.index(status) if status in order else len(order)


def _head(progress: Progress, ended: int, total: int, took: str) -> RenderableType:
    head = Table.grid(padding=(0, 2))
    style = COLOURS.get(progress.status, "")
    bar = ProgressBar(total=max(1, total), completed=ended, width=BAR, complete_style="green", finished_style="green")
    head.add_row(
        Text(f"execution {progress.id}", style="bold"),
        Text(progress.status, style=style),
        bar,
        Text(f"{ended}/{total}"),
        Text(took),
    )
    return head


def _table(rows: Iterable[Row]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for _ in range(4):
        table.add_column(no_wrap=True)
    table.add_column()  # the one that gives way
    for row in rows:
        style = COLOURS.get(row.status, "")
        attempt = f"attempt {row.attempt}" if row.attempt > 1 else ""
        table.add_row(
            Text(f"{_sign(row.status)} {row.key}", style=style),
            Text(row.status, style=style),
            Text(duration(row.took()), justify="right"),
            Text(attempt),
            Text(_remark(row), style="bright_black", no_wrap=True, overflow="ellipsis"),
        )
    return table


def _remark(row: Row) -> str:
    return cell(row.note) if row.note else row.name if row.name != row.key else ""


def _sign(status: str) -> str:
    if status == "running":
        return FRAMES[int(time.monotonic() * 10) % len(FRAMES)]
    return SIGNS.get(status, "·")


def _epoch(time_text: str | None) -> float | None:
    return datetime.fromisoformat(time_text).timestamp() if time_text else None
