"""What happened, drawn and checked from the history that the REST door gives."""

from datetime import datetime
from itertools import pairwise
from typing import Any

WIDTH = 44


def draw(steps: list[dict[str, Any]]) -> str:
    """A bar per task over real time; bars above each other overlapped."""
    spans = [(step, _epoch(step["started_at"]), _epoch(step["completed_at"])) for step in steps if step["started_at"]]
    begin = min(start for _, start, _ in spans)
    length = max(end for _, _, end in spans) - begin or 1.0
    lines = []
    for step, start, end in spans:
        left = int((start - begin) / length * (WIDTH - 1))
        size = max(1, round((end - start) / length * WIDTH))
        bar = " " * left + "█" * min(size, WIDTH - left)
        lines.append(f"  {step['key']:<10} {bar:<{WIDTH}} {start - begin:5.2f} to {end - begin:5.2f} s")
    return "\n".join(lines)


def overlapping(steps: list[dict[str, Any]]) -> bool:
    """Whether any two tasks ran at the same time for a tenth of a second or more."""
    spans = sorted((_epoch(s["started_at"]), _epoch(s["completed_at"])) for s in steps if s["started_at"])
    return any(b[0] + 0.1 <= a[1] for a, b in pairwise(spans))


def run_twice(events: list[dict[str, Any]]) -> list[str]:
    """Tasks that completed more than once, or started again after they had completed."""
    done: set[str] = set()
    wrong = []
    for event in events:
        if event["type"] in ("TaskStarted", "TaskCompleted") and event["task"] in done:
            wrong.append(event["task"])
        if event["type"] == "TaskCompleted":
            done.add(event["task"])
    return wrong


def completed(events: list[dict[str, Any]]) -> list[str]:
    """Keys of completed tasks, in order."""
    return [event["task"] for event in events if event["type"] == "TaskCompleted"]


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
