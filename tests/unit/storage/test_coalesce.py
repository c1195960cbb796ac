"""Many callers, few queries."""

import asyncio
from collections.abc import Sequence

import pytest

from storage.coalesce import Coalescer


class Slow:
    """Answers `-question`, one loop turn later; remembers what came together."""

    def __init__(self) -> None:
        self.queries: list[list[int]] = []
        self.error: Exception | None = None

    async def __call__(self, questions: Sequence[int]) -> list[int]:
        self.queries.append(list(questions))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return [-question for question in questions]


async def test_who_comes_during_a_query_shares_the_next() -> None:
    slow = Slow()
    coalescer = Coalescer(slow, most=4)
    first = asyncio.create_task(coalescer.ask([1]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(coalescer.ask([n, n + 10])) for n in (2, 3, 4)]
    assert await first == [-1]
    assert await asyncio.gather(*rest) == [[-2, -12], [-3, -13], [-4, -14]]
    assert slow.queries == [[1], [2, 12, 3, 13], [4, 14]]
    assert await coalescer.ask([]) == []
    assert await coalescer.ask([5]) == [-5]


async def test_an_error_reaches_those_who_asked_and_nobody_else() -> None:
    slow = Slow()
    coalescer = Coalescer(slow)
    slow.error = ValueError("broken")
    answers = await asyncio.gather(coalescer.ask([1]), coalescer.ask([2]), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ValueError, ValueError]
    slow.error = None
    assert await coalescer.ask([3]) == [-3]


async def test_a_question_nobody_waits_for_is_not_asked() -> None:
    slow = Slow()
    coalescer = Coalescer(slow)
    first, gone, last = (asyncio.create_task(coalescer.ask([n])) for n in (1, 2, 3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gone.cancel()
    assert await first == [-1]
    assert await last == [-3]


async def test_closing_leaves_nobody_waiting() -> None:
    async def never(_questions: Sequence[int]) -> list[int]:
        await asyncio.sleep(3600)
        return []

    coalescer = Coalescer(never, most=1)
    tasks = [asyncio.create_task(coalescer.ask([n])) for n in range(3)]
    await asyncio.sleep(0)
    await coalescer.close()
    await coalescer.close()
    for task in tasks:
        with pytest.raises(asyncio.CancelledError):
            await task
