"""Commands and scripts to one Redis. Nothing is tried again here: who calls knows what a repeat does."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError

from engine.errors import ConfigurationError, Unavailable
from executors._rq_scripts import Script

TIMEOUT = 5.0
"""Seconds for an answer; a Redis that is slower counts as gone."""
WAIT = 2.0
"""Seconds that a blocking command blocks."""
PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two tries; each is longer than the one before."""
BROKEN = (RedisError, OSError, asyncio.TimeoutError)
"""What a Redis that is away, full or restarting raises."""

Word = str | bytes | int | float
Call = tuple[Script, Sequence[str], Sequence[Word]]

log = structlog.get_logger("rq")


class Link:
    """A pool of connections."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.client: Redis = Redis.from_url(
            url,
            protocol=2,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        self._loaded: dict[str, str] = {}
        self._quiet = False

    async def open(self) -> None:
        """Raises `Unavailable` when Redis does not answer, `ConfigurationError` when it refuses us."""
        try:
            await self.client.ping()
        except AuthenticationError as error:
            raise ConfigurationError(f"Redis at {self._where} refuses us ({error}); correct REDIS_URL") from None
        except BROKEN as error:
            reason = str(error) or type(error).__name__
            message = f"Redis at {self._where} does not answer ({reason}); start it or correct REDIS_URL"
            raise Unavailable(" ".join(message.split())) from None

    async def close(self) -> None:
        await self.client.aclose()

    @property
    def _where(self) -> str:
        """Without the password."""
        return urlsplit(self._url).netloc.rpartition("@")[2] or self._url.rpartition("@")[2]

    async def run(self, script: Script, keys: Sequence[str], words: Sequence[Word]) -> Any:
        """The reply of one script. Raises one of `BROKEN`."""
        (reply,) = await self.run_all([(script, keys, words)])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """One round trip; a script that failed answers its error. Raises one of `BROKEN`."""
        replies = await self._send(calls)
        if any(isinstance(reply, NoScriptError) for reply in replies):  # the server was restarted
            self._loaded.clear()
            replies = await self._send(calls)
        return replies

    async def _send(self, calls: Sequence[Call]) -> list[Any]:
        for script, _, _ in calls:
            if script.text not in self._loaded:
                self._loaded[script.text] = await self.client.script_load(script.text)
        pipeline = self.client.pipeline(transaction=False)
        for script, keys, words in calls:
            assert len(keys) == script.keys
            pipeline.execute_command("EVALSHA", self._loaded[script.text], len(keys), *keys, *words)
        return list(await pipeline.execute(raise_on_error=False))

    async def wait_for_item(self, key: str) -> None:
        """Returns when the list has an item, or after a while; takes nothing."""
        await cast("Awaitable[Any]", self.client.blmove(key, key, int(WAIT), "LEFT", "LEFT"))

    async def insist(self, what: str, attempt: Callable[[], Awaitable[bool]]) -> None:
        """Calls `attempt` until it answers True; while Redis is away, and says so once."""
        pause = PAUSE
        while True:
            try:
                if await attempt():
                    self.well()
                    return
            except BROKEN as error:
                self.unwell(what, error)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    def unwell(self, what: str, error: BaseException) -> None:
        """Logged once, until it is well again."""
        if not self._quiet:
            self._quiet = True
            full = isinstance(error, ResponseError)
            log.warning("Redis refuses; waiting" if full else "Redis is away; waiting", doing=what, reason=str(error))

    def well(self) -> None:
        if self._quiet:
            self._quiet = False
            log.info("Redis is back")


async def end(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancels them until they are over: redis-py makes an error of its own of a cancellation that meets a reply."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=PAUSE)
    await asyncio.gather(*tasks, return_exceptions=True)
