"""What `status` shows of a task."""

import pytest

from commands.executions import _task_cells


@pytest.mark.parametrize(("iteration", "shown"), [(None, "m"), ("[3]", "m[3]"), (".2", "m.2")])
def test_a_task_is_shown_by_its_address(iteration: str | None, shown: str) -> None:
    fields = ("type", "status", "attempt", "error", "output", "reason", "started_at", "completed_at")
    task = {**dict.fromkeys(fields), "key": "m", "iteration": iteration}
    assert _task_cells(task)[0] == shown
