"""Who waits for news of an execution, in this process. News is only a wake-up; the facts are read from the journal."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

Watchers = dict[int, set[asyncio.Event]]


class Progress:
    """Wake-ups by execution, for those who follow every step and those who only wait for the end."""

    def __init__(self) -> None:
        self._followers: Watchers = {}
        self._waiters: Watchers = {}
        self._readers: set[asyncio.Event] = set()

    def __bool__(self) -> bool:
        return bool(self._followers or self._waiters or self._readers)

    def moved(self, executions: Iterable[int]) -> None:
        """Something was appended to these."""
        self._wake_readers()
        _set(self._followers, executions)

    def ended(self, executions: Iterable[int]) -> None:
        """These have ended."""
        _set(self._waiters, executions)

    def perhaps(self, executions: Iterable[int] = ()) -> None:
        """Something may have happened to these, or (none named) to any: word from another process."""
        self._wake_readers()
        named = tuple(executions)
        _set(self._followers, named or tuple(self._followers))
        _set(self._waiters, named or tuple(self._waiters))

    @contextmanager
    def follow(self, execution: int) -> Iterator[asyncio.Event]:
        """An event that is set at each piece of news; the watcher clears it before it reads."""
        with _watching(self._followers, execution) as event:
            yield event

    @contextmanager
    def follow_all(self) -> Iterator[asyncio.Event]:
        """An event that is set at each piece of news of any execution."""
        event = asyncio.Event()
        self._readers.add(event)
        try:
            yield event
        finally:
            self._readers.discard(event)

    def _wake_readers(self) -> None:
        for event in self._readers:
            event.set()

    @contextmanager
    def await_end(self, execution: int) -> Iterator[asyncio.Event]:
        """An event that is set at the end."""
        with _watching(self._waiters, execution) as event:
            yield event


def _set(watchers: Watchers, executions: Iterable[int]) -> None:
    if watchers:
        for execution in executions:
            for event in watchers.get(execution, ()):
                event.set()


@contextmanager
def _watching(watchers: Watchers, execution: int) -> Iterator[asyncio.Event]:
    event = asyncio.Event()
    watchers.setdefault(execution, set()).add(event)
    try:
        yield event
    finally:
        mine = watchers[execution]
        mine.discard(event)
        if not mine:
            del watchers[execution]
