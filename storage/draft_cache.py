"""Drafts that were read or written lately, by workflow and revision: adding the ten-thousandth task must not read
ten thousand rows. A revision is looked at in the database first, so that nothing here can be stale."""

import threading
from collections import OrderedDict

from engine.model import Workflow

MOST_TASKS = 100_000
"""Tasks of all drafts together; a draft, and each 256 bytes of a source, count as one more."""


class DraftCache:
    """Keeps the newest revision of each draft; forgets the one that was unused longest. For any thread."""

    def __init__(self, most_tasks: int = MOST_TASKS) -> None:
        self._most = most_tasks
        self._lock = threading.Lock()
        self._known: OrderedDict[int, Workflow] = OrderedDict()
        self._count = 0

    def get(self, workflow_id: int, revision: int) -> Workflow | None:
        with self._lock:
            known = self._known.get(workflow_id)
            if known is None or known.revision != revision:
                return None
            self._known.move_to_end(workflow_id)
            return known

    def put(self, draft: Workflow) -> None:
        """`draft` is committed, or its transaction clears this cache if it is rolled back."""
        with self._lock:
            known = self._known.get(draft.id)
            if known is not None and known.revision > draft.revision:
                return
            self._known[draft.id] = draft
            self._known.move_to_end(draft.id)
            self._count += _cost(draft) - (_cost(known) if known is not None else 0)
            while self._count > self._most:
                _, forgotten = self._known.popitem(last=False)
                self._count -= _cost(forgotten)

    def clear(self) -> None:
        with self._lock:
            self._known.clear()
            self._count = 0


def _cost(draft: Workflow) -> int:
    return 1 + len(draft.tasks) + len(draft.source or b"") // 256
