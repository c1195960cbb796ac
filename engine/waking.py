"""Who is woken by what this engine has committed: watchers, other executions, the engines that may take them."""

import asyncio
from collections.abc import Callable

from engine.ports import Append, Store
from engine.progress import Progress


class Waker:
    """Losing a wake-up delays and never harms: everybody looks for himself now and then."""

    def __init__(self, store: Store, progress: Progress) -> None:
        self.claims = asyncio.Event()
        """Set when something may be due."""
        self.tell_inbox: Callable[[tuple[int, ...]], None] = _nobody
        """Told which executions may have signals."""
        self._store = store
        self._progress = progress
        self._news: list[int] = []
        self._ended: list[int] = []

    def note(self, append: Append, *, ended: bool) -> None:
        """This is durable."""
        self._news.append(append.execution_id)
        if ended:
            self._ended.append(append.execution_id)
        if append.children or append.signals:
            self._wake_kin(append)

    def settled(self) -> None:
        """After each batch: watchers are woken, here and elsewhere."""
        news, self._news = self._news, []
        ended, self._ended = self._ended, []
        if self._progress:
            self._progress.moved(news)
            self._progress.ended(ended)
        if news and self._store.shared:
            self._store.notify("progress", news)

    def _wake_kin(self, append: Append) -> None:
        """Children that are due now, and executions that have mail, wherever they are."""
        self.claims.set()
        self._store.notify("claim")
        told = tuple(dict.fromkeys(signal.execution_id for signal in append.signals))
        if told:
            self.tell_inbox(told)
            self._store.notify("signal", told)


def _nobody(executions: tuple[int, ...]) -> None:
    """Nobody reads signals here."""
