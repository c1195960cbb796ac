"""What the cache of drafts keeps."""

from typing import Any

import msgspec

from engine.model import DraftTask, Workflow
from storage.draft_cache import DraftCache
from storage.records import TASK_COLUMNS, task_record

ROW: dict[str, Any] = {
    "workflow_id": 1,
    "name": "t",
    "execution_type": "sync",
    "parameters": b"{}",
    "depends_on": b"[]",
    "condition": b"true",
    "retry": b"{}",
    "on_error": "fail",
    "resources": b"{}",
    "concurrency_limit": 1,
    "compensate": b"null",
    "created_at": 0.0,
    "updated_at": 0.0,
}


def tasks(*ids: int) -> tuple[DraftTask, ...]:
    rows = ({**ROW, "id": n, "key": f"t{n}", "position": n} for n in ids)
    return tuple(task_record(tuple(row.get(name) for name in TASK_COLUMNS)) for row in rows)


def draft(number: int = 1, revision: int = 1, *ids: int) -> Workflow:
    return Workflow(number, "default", None, "w", None, "ordered_tasks", None, revision, 0.0, 0.0, tasks(*ids))


def test_only_the_same_revision_is_known() -> None:
    cache = DraftCache()
    assert cache.get(1, 1) is None
    cache.put(draft(1, 2, 7))
    assert cache.get(1, 2) == draft(1, 2, 7)
    assert cache.get(1, 1) is None
    assert cache.get(1, 3) is None
    assert cache.get(2, 2) is None


def test_an_older_revision_that_comes_late_is_not_kept() -> None:
    cache = DraftCache()
    cache.put(draft(1, 2, 7))
    cache.put(draft(1, 1))
    assert cache.get(1, 2) == draft(1, 2, 7)


def test_it_forgets_what_was_unused_longest() -> None:
    cache = DraftCache(most_tasks=10)
    for number in (1, 2, 3):
        cache.put(draft(number, 1, 1, 2))
    assert cache.get(1, 1) is not None
    cache.put(draft(4, 1, 1, 2))
    assert [cache.get(number, 1) is not None for number in (1, 2, 3, 4)] == [True, False, True, True]
    cache.put(draft(5, 1, *range(11)))
    assert [cache.get(number, 1) for number in (1, 3, 4, 5)] == [None] * 4


def test_it_counts_right_when_a_draft_changes() -> None:
    cache = DraftCache(most_tasks=8)
    changes: list[dict[str, Any]] = [{"revision": r, "tasks": tasks(*range(r % 4))} for r in range(2, 40)]
    for change in changes:
        changed = msgspec.structs.replace(draft(), **change)
        cache.put(changed)
        assert cache.get(1, changed.revision) is changed
    cache.put(draft(2, 1, 1, 2))
    assert cache.get(1, 39) is not None
    cache.clear()
    assert cache.get(1, 39) is None
    cache.put(draft(1, 1, *range(7)))
    assert cache.get(1, 1) == draft(1, 1, *range(7))
