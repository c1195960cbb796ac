"""`python -m tests.chaos [CHECK…] [--n N] [--seed S] [--json]`: the checks in full, on processes of this machine only.

Without CHECK all of them run. `N=…` and `SEED=…` are understood as `make chaos` hands them over.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import msgspec

from tests import servers
from tests.chaos import kill_matrix, sabotage
from tests.chaos.coherence import coherence
from tests.chaos.embedded import embedded
from tests.chaos.families import at_each_commit, families
from tests.chaos.four_engines import FULL as FOUR
from tests.chaos.four_engines import four_engines
from tests.chaos.idempotent_start import idempotent_start
from tests.chaos.kill_rounds import rounds
from tests.chaos.kill_storm import KILLS, kill_storm
from tests.chaos.limits import limits
from tests.chaos.lost_answers import lost_answers
from tests.chaos.parking import parking
from tests.chaos.planner import FULL, model
from tests.chaos.races import races
from tests.chaos.ray_kills import ray_kills
from tests.chaos.redis_loss import redis_loss
from tests.chaos.report import Outcome, details, table
from tests.chaos.restarts import restarts
from tests.chaos.rolling import rolling
from tests.chaos.sabotage import SABOTAGES
from tests.chaos.timers import timers
from tests.chaos.worker_kills import worker_kills
from tests.chaos.world import KINDS
from tests.chaos.zombie import zombie

BESIDE = 2
"""Worlds at once: as many as this machine has cores."""


def _matrix(n: int, seed: int) -> Iterator[Outcome]:
    whole = Outcome("C1 kill matrix", seed, n, "cells")
    began = time.monotonic()
    with _pool() as pool:
        jobs = [
            pool.submit(kill_matrix.run, cell, seed + number) for number, cell in enumerate(kill_matrix.cells(n, seed))
        ]
        for job in jobs:
            outcome = job.result()
            whole.add(outcome)
            whole.note("cells that recovered", outcome.ok)
            if not outcome.faults:
                whole.problems.append(f"{outcome.check}: no fault landed")
    whole.seconds = time.monotonic() - began
    yield whole


def _sabotages(n: int, seed: int) -> Iterator[Outcome]:
    with _pool() as pool:
        yield from pool.map(sabotage.run, range(min(n, len(SABOTAGES))), [seed] * n)


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(BESIDE, mp_context=multiprocessing.get_context("spawn"))


def _kill_rounds(n: int, seed: int) -> Iterator[Outcome]:
    for kind in KINDS:
        yield asyncio.run(rounds(kind, n, seed))


def _kill_storm(n: int, seed: int) -> Iterator[Outcome]:
    yield asyncio.run(kill_storm(n, seed))


def _families(n: int, seed: int) -> Iterator[Outcome]:
    for kind in KINDS:
        yield asyncio.run(at_each_commit(kind, seed))
        yield asyncio.run(families(kind, n, seed, kills=max(1, n // 10)))


def _restarts(n: int, seed: int) -> Iterator[Outcome]:
    yield asyncio.run(restarts(n, seed))


def _four_engines(n: int, seed: int) -> Iterator[Outcome]:
    yield asyncio.run(four_engines(n, seed))


def _rolling(n: int, seed: int) -> Iterator[Outcome]:
    yield asyncio.run(rolling(n, seed))


def _races(n: int, seed: int) -> Iterator[Outcome]:
    for kind in KINDS:
        yield asyncio.run(races(kind, n, seed))


def _limits(n: int, seed: int) -> Iterator[Outcome]:
    yield asyncio.run(limits(n, seed, faults=max(1, n // 30)))


def _zombie(n: int, seed: int) -> Iterator[Outcome]:
    yield asyncio.run(zombie(n, seed))


def _lost_answers(n: int, seed: int) -> Iterator[Outcome]:
    for rate in (0.01, 0.1):
        yield asyncio.run(lost_answers(n, rate, seed))


def _redis_loss(n: int, seed: int) -> Iterator[Outcome]:
    yield asyncio.run(redis_loss(n, seed))


def _worker_kills(n: int, seed: int) -> Iterator[Outcome]:
    yield asyncio.run(worker_kills(n, seed))


def _embedded(n: int, seed: int) -> Iterator[Outcome]:
    yield asyncio.run(embedded(n, seed))


def _timers(n: int, seed: int) -> Iterator[Outcome]:
    for kind in KINDS:
        yield asyncio.run(timers(kind, n, seed))


def _idempotent_start(n: int, seed: int) -> Iterator[Outcome]:
    for kind in KINDS:
        yield asyncio.run(idempotent_start(kind, n, seed))


def _coherence(n: int, seed: int) -> Iterator[Outcome]:
    yield asyncio.run(coherence(n, seed))


def _parking(n: int, seed: int) -> Iterator[Outcome]:
    for kind in KINDS:
        yield asyncio.run(parking(kind, n, seed))


def _ray_kills(n: int, seed: int) -> Iterator[Outcome]:
    yield asyncio.run(ray_kills(n, seed))


def _model(n: int, seed: int) -> Iterator[Outcome]:
    yield model(n, seed)


CHECKS: dict[str, tuple[int, Callable[[int, int], Iterator[Outcome]]]] = {
    "c1": (kill_matrix.SIZE, _matrix),
    "kills": (20, _kill_rounds),
    "c2": (KILLS, _kill_storm),
    "c3": (100, _families),
    "c4": (100, _zombie),
    "limits": (600, _limits),
    "c5": (20, _restarts),
    "rolling": (20, _rolling),
    "four": (FOUR, _four_engines),
    "c6": (10_000, _lost_answers),
    "c7": (30, _redis_loss),
    "c8": (100, _worker_kills),
    "c9": (50, _ray_kills),
    "c10": (50, _embedded),
    "c11": (200, _timers),
    "c15": (2000, _races),
    "c18": (500, _idempotent_start),
    "c19": (50_000, _coherence),
    "c24": (FULL, _model),
    "parking": (2000, _parking),
    "c30": (len(SABOTAGES), _sabotages),
}
"""The full size of each check, and what runs it. C29, the audit, is part of each that has executions."""


def main(words: Sequence[str]) -> int:
    """0 if every check is green."""
    arguments = _parse(words)
    servers.begin_run()
    outcomes: list[Outcome] = []
    try:
        for name in arguments.check or CHECKS:
            full, run = CHECKS[name]
            for outcome in run(arguments.n or full, arguments.seed):
                outcomes.append(outcome)
                if not arguments.json:
                    print(f"{'ok    ' if outcome.ok else 'FAILED'}  {outcome.check}", flush=True)
                    print(details(outcome), flush=True)
    finally:
        servers.end_run()
    print(json.dumps(msgspec.to_builtins(outcomes), indent=2) if arguments.json else table(outcomes))
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("check", nargs="*", metavar="CHECK", help=f"one of {', '.join(CHECKS)}; all if none is named")
    parser.add_argument("--n", type=int, help="in place of each check's full size")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    plain = [word for word in words if "=" not in word or word.startswith("-")]
    given = (word.partition("=") for word in words if "=" in word and not word.startswith("-"))
    extra = [part for name, _, value in given for part in _option(name, value)]
    arguments = parser.parse_args([*plain, *extra])
    unknown = [name for name in arguments.check if name not in CHECKS]
    if unknown:
        parser.error(f"there is no check {unknown[0]!r}; there are {', '.join(CHECKS)}")
    return arguments


def _option(name: str, value: str) -> list[str]:
    """`N=300`, `SEED=4` and `CHECK="c1 c4"` of a make command; anything else is none of ours."""
    if name == "CHECK":
        return value.split()
    return [f"--{name.lower()}", value] if name in ("N", "SEED") else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
