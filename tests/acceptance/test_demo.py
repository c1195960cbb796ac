"""`make demo` tells the truth: it exits with 0 only if everything that it shows holds."""

import subprocess
import sys

from demo import timeline
from deploy.processes import ROOT


def test_the_demo_succeeds() -> None:
    done = subprocess.run([sys.executable, "-m", "demo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✘" not in done.stdout
    assert done.stdout.count("✔") == 7


def test_a_task_that_ran_twice_would_be_seen() -> None:
    events = [{"type": "TaskStarted", "task": "a"}, {"type": "TaskCompleted", "task": "a"}]
    assert timeline.run_twice(events) == []
    assert timeline.run_twice([*events, {"type": "TaskStarted", "task": "a"}]) == ["a"]
    assert timeline.run_twice([*events, {"type": "TaskCompleted", "task": "a"}]) == ["a"]


def test_tasks_in_a_row_do_not_overlap() -> None:
    row = [("10:00:00", "10:00:01"), ("10:00:01", "10:00:02")]
    beside = [("10:00:00", "10:00:01"), ("10:00:00.5", "10:00:02")]
    for spans, overlap in ((row, False), (beside, True)):
        steps = [{"started_at": f"2026-01-01T{a}Z", "completed_at": f"2026-01-01T{b}Z"} for a, b in spans]
        assert timeline.overlapping(steps) is overlap
