"""Wake-ups between processes: LISTEN and NOTIFY on a connection of their own. Losing one is allowed."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from engine.errors import StoreUnavailable
from storage.postgresql_session import Broken, Session

TOPICS = ("claim", "signal", "slot", "progress", "crowded", "hungry")
INTERVAL = 0.005
"""Seconds between two notifications of one topic."""
LONGER = {"progress": 0.02}
"""The same for a topic that has news all the time: each wakes every process, also those that it does not concern."""
MOST_IDS = 300
"""Ids in one notification; more mean `all of them`."""
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
_PREFIX = "millrace_"

Wake = Callable[[str, tuple[int, ...]], None]


class Bell:
    """Rings in other processes, and calls `wake` when they ring."""

    def __init__(self, dsn: str) -> None:
        greet = [f"LISTEN {_PREFIX}{topic}" for topic in TOPICS]
        self._session = Session(dsn, greet=greet, heard=self._heard)
        self._wake: Wake | None = None
        self._pending: dict[str, set[int] | None] = {}
        self._ringing: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._reconnecting = False

    async def open(self) -> None:
        await self._session.connect()
        self._session.broke = self._broke

    async def close(self) -> None:
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._session.close()

    def listen(self, wake: Wake) -> None:
        self._wake = wake

    def ring(self, topic: str, executions: Sequence[int]) -> None:
        """At most once per topic and interval; ids that come meanwhile are rung together."""
        known = self._pending.get(topic, set())
        self._pending[topic] = None if known is None or not executions else known | set(executions)
        if topic not in self._ringing and not self._closed:
            self._ringing.add(topic)
            self._spawn(self._ring(topic))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ring(self, topic: str) -> None:
        pause = INTERVAL
        try:
            while topic in self._pending:
                ids = self._pending.pop(topic)
                few = sorted(ids) if ids is not None and len(ids) <= MOST_IDS else []
                payload = ",".join(map(str, few)) or "*"
                await self._session.run(("SELECT pg_notify(%s, %s)", (_PREFIX + topic, payload)))
                await asyncio.sleep(pause)
                pause = max(INTERVAL, min(pause * 2, LONGER.get(topic, INTERVAL)))
        except (Broken, StoreUnavailable):
            self._pending.pop(topic, None)
        finally:
            self._ringing.discard(topic)

    def _heard(self, notice: Any) -> None:
        if self._wake is None or notice.pid == self._session.pid:
            return
        ids = () if notice.payload == "*" else tuple(int(number) for number in notice.payload.split(","))
        self._wake(notice.channel.removeprefix(_PREFIX), ids)

    def _broke(self) -> None:
        if not self._closed and not self._reconnecting:
            self._reconnecting = True
            self._spawn(self._reconnect())

    async def _reconnect(self) -> None:
        """What rang meanwhile is not known: everything is looked at."""
        tries = 0
        while True:
            await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1
            try:
                await self._session.connect()
            except (Broken, StoreUnavailable):
                continue
            self._reconnecting = False
            for topic in TOPICS if self._wake is not None else ():
                self._wake(topic, ())  # type: ignore[misc]
            return
