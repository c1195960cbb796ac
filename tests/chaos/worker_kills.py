"""C8: workers of RQ are killed at any moment; what they took along is found, told and done again."""

import asyncio
import random

from tests.chaos.report import Outcome, Timed
from tests.chaos.rq_world import RQWorld, open_rq_world, rounds

WORKERS = 3


async def worker_kills(n: int, seed: int, *, guard: str | None = None) -> Outcome:
    """`n` times `kill -9`, each of a worker by dice."""
    outcome = Outcome("C8 RQ kills", seed, n, "kills")
    with Timed(outcome):
        try:
            async with asyncio.timeout(180 + 20 * n), open_rq_world(WORKERS, guard) as place:
                await rounds(place, n, seed, outcome, _Killer(place, outcome).once)
        except Exception as error:
            outcome.problems.append(f"{type(error).__name__}: {error}")
    if not outcome.notes.get("lost with their worker"):
        outcome.problems.append("no kill took a call along: it proves nothing")
    return outcome


class _Killer:
    def __init__(self, place: RQWorld, outcome: Outcome) -> None:
        self._team = place.team
        self._outcome = outcome

    async def once(self, dice: random.Random) -> None:
        victim = dice.randrange(WORKERS)
        alive = self._team.workers[victim].alive
        self._team.workers[victim].kill()
        self._outcome.faults = (self._outcome.faults or 0) + alive
        await self._team.replace(victim)
