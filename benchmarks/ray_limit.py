"""`python -m benchmarks.ray_limit <address>`: what Ray alone does, without us, on the cluster at that address.

Reads `<how> <tasks> <at once>` from standard input, a line each; answers milliseconds per task. How: `tasks` (Ray
tasks), `actors` (calls of two long-lived actors).
"""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import ray


def main(address: str) -> None:
    """Until standard input ends."""
    ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    answer = ray.remote(max_retries=0)(_answer)
    make: Any = ray.remote(num_cpus=0)(_Actor)
    actors = [make.remote() for _ in range(2)]
    ways: dict[str, Callable[[int], Any]] = {
        "tasks": answer.remote,
        "actors": lambda number: actors[number % 2].answer.remote(number),
    }
    print("ready", flush=True)
    for line in sys.stdin:
        how, tasks, at_once = line.split()
        print(_measure(ways[how], int(tasks), int(at_once)), flush=True)


def _measure(call: Callable[[int], Any], tasks: int, at_once: int) -> float:
    began = time.perf_counter()
    for first in range(0, tasks, at_once):
        ray.get([call(number) for number in range(first, min(first + at_once, tasks))])
    return (time.perf_counter() - began) / tasks * 1000


def _answer(number: int) -> int:
    return number


class _Actor:
    async def answer(self, number: int) -> int:
        return number


if __name__ == "__main__":
    main(sys.argv[1])
