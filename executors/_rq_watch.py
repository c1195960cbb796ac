"""An engine's eye on Redis and on the workers: what it forgot, and who died."""

import asyncio

from engine.model import Lost
from executors import _rq_scripts as scripts
from executors._rq_link import Link, Word
from executors._rq_names import ANSWER_SECONDS, Answer, Names, encode_answer

ROUND = 1.0
"""Seconds between two looks, at most."""


class Watch:
    """A worker is dead when its beat stood still for the life it claims, in looks of ours that succeeded.

    We count the time ourselves, from the first look on: after an outage of Redis, or a stop of our own, every worker
    gets its whole life to be heard again.
    """

    def __init__(self, link: Link, names: Names, engine: str) -> None:
        self.seconds = ROUND
        self._link = link
        self._names = names
        self._engine = engine
        self.run = b""
        """Which run of the server it is."""
        self._count = 0
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._looked = 0.0

    async def round(self) -> bool:
        """Whether Redis was flushed or restarted since the last look. Takes from dead workers what they took."""
        now = asyncio.get_running_loop().time()
        if now - self._looked > 3 * self.seconds:
            self.interrupted()
        self._looked = now
        count, beats, run = await self._link.run(scripts.LOOK, [self._engine, self._names.beats], [])
        forgotten = bool(count <= self._count) or run != self.run
        self.run = run
        self._count = count
        if forgotten:
            self.interrupted()
        present = {name.decode(): beat for name, beat in zip(beats[::2], beats[1::2], strict=True)}
        for gone in self._seen.keys() - present.keys():
            del self._seen[gone]
        for worker, beat in present.items():
            last, since = self._seen.get(worker, (b"", now))
            if beat != last:
                self._seen[worker] = beat, now
            elif now - since > _life(beat):
                await self._bury(worker, beat)
        self.seconds = min([ROUND, *(_life(beat) / 4 for beat in present.values())])
        return forgotten

    def interrupted(self) -> None:
        """What was seen before says nothing about now."""
        self._seen.clear()

    async def _bury(self, worker: str, beat: bytes) -> None:
        answer = encode_answer(Answer(Lost(f"the worker {worker} died", shared=True), 0.0))
        words: list[Word] = [worker, beat, answer, ANSWER_SECONDS, self._names.queue]
        await self._link.run(scripts.REAP, [self._names.beats, self._names.running(worker)], words)
        self._seen.pop(worker, None)


def _life(beat: bytes) -> float:
    """Seconds without a new beat after which its worker counts as dead."""
    return max(0.05, float(beat.partition(b":")[0]))
