"""Many callers' questions in one round trip: who comes while a query is in flight shares the next one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Coalescer(Generic[Q, A]):
    """`run` answers many questions at once, in their order. One query is in flight at a time; at most `most` in it."""

    def __init__(self, run: Callable[[Sequence[Q]], Awaitable[Sequence[A]]], most: int = 2048) -> None:
        self._run = run
        self._most = most
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def ask(self, questions: Sequence[Q]) -> list[A]:
        """The answers, in order. Raises what `run` raised for a query that had one of them."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[A]] = [loop.create_future() for _ in questions]
        self._waiting.extend(zip(questions, futures, strict=True))
        if self._task is None and futures:
            self._task = loop.create_task(self._drain())
        return list(await asyncio.gather(*futures)) if len(futures) != 1 else [await futures[0]]

    async def close(self) -> None:
        """Nobody asks any more; who still waits is told that it was cancelled."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()

    async def _drain(self) -> None:
        try:
            while self._waiting:
                count = min(len(self._waiting), self._most)
                asked = [self._waiting.popleft() for _ in range(count)]
                await self._answer([entry for entry in asked if not entry[1].done()])
        finally:
            self._task = None

    async def _answer(self, asked: list[tuple[Q, asyncio.Future[A]]]) -> None:
        if not asked:
            return
        try:
            answers = await self._run([question for question, _ in asked])
        except BaseException as error:
            for _, future in asked:
                if not future.done():
                    future.set_exception(error) if isinstance(error, Exception) else future.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), answer in zip(asked, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
