"""Who waits for news of an execution, in this process. News is only a wake-up; the facts are read from the journal."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Progress:
    """Wake-ups by execution."""

    def __init__(self) -> None:
        self._watchers: dict[int, set[asyncio.Event]] = {}

    def __bool__(self) -> bool:
        return bool(self._watchers)

    def tell(self, executions: Iterable[int]) -> None:
        """Something was appended to these."""
        for execution in executions:
            for event in self._watchers.get(execution, ()):
                event.set()

    def tell_all(self) -> None:
        """Something may have been appended to any."""
        self.tell(list(self._watchers))

    @contextmanager
    def watch(self, execution: int) -> Iterator[asyncio.Event]:
        """An event that is set at each piece of news; the watcher clears it before it reads."""
        event = asyncio.Event()
        self._watchers.setdefault(execution, set()).add(event)
        try:
            yield event
        finally:
            watchers = self._watchers[execution]
            watchers.discard(event)
            if not watchers:
                del self._watchers[execution]
