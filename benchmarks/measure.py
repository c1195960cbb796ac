"""Cases, goals and rounds: product and limits are measured in turns, and the medians are what counts.

A machine is never as quiet as one wishes, so a ratio is the median of the ratios of the rounds, in which both
stood next to each other.
"""

import gc
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Literal, NamedTuple

import msgspec

from benchmarks.servers import Database, Servers

Sampler = Callable[[], Awaitable[float]]
"""Does the work once and answers one figure, in the unit of its case."""


class Scale(NamedTuple):
    """How much work: `full` for the record, `quick` for a look, `tiny` only to see that it runs."""

    size: Literal["full", "quick", "tiny"]

    def __call__(self, full: int, quick: int, tiny: int) -> int:
        return {"full": full, "quick": quick, "tiny": tiny}[self.size]

    @property
    def rounds(self) -> int:
        return self(5, 3, 1)


class Bench(NamedTuple):
    """What a benchmark is given."""

    scale: Scale
    servers: Servers

    def databases(self) -> Iterator[Database]:
        """One of each kind, for benchmarks that start processes; when tiny only PostgreSQL."""
        if self.scale.size == "tiny":
            with self.servers.postgres() as database:
                yield database
        else:
            yield from self.servers.databases()


class Goal(msgspec.Struct, frozen=True):
    """A bound on the product's value, or on its ratio to the first limit."""

    sense: Literal["at least", "at most"]
    bound: float
    of: Literal["value", "ratio"] = "value"

    def met(self, value: float, ratio: float | None) -> bool:
        figure = value if self.of == "value" else ratio
        assert figure is not None, "a ratio needs a limit"
        return figure >= self.bound if self.sense == "at least" else figure <= self.bound


class Case(NamedTuple):
    """One row: a figure of the product beside its limits. `rounds` None means as many as the scale says."""

    name: str
    unit: str
    product: Sampler
    limits: Mapping[str, Sampler] = {}
    goal: Goal | None = None
    rounds: int | None = None
    warm: bool = True
    """Whether a first round is run and not counted."""


class Benchmark(NamedTuple):
    """`cases` keeps what a case needs open until it is asked for the next one."""

    name: str
    title: str
    cases: Callable[[Bench], AsyncIterator[Case]]


class Figure(msgspec.Struct, frozen=True):
    """A measured row. `low` and `high` are the product's extremes; `ratio` is value to limit."""

    benchmark: str
    name: str
    unit: str
    value: float
    low: float
    high: float
    limit_name: str | None = None
    limit: float | None = None
    ratio: float | None = None
    goal: Goal | None = None
    met: bool | None = None


async def run(benchmark: Benchmark, bench: Bench) -> AsyncIterator[Figure]:
    """Its figures, one for each limit of each case; the goal stands with the first."""
    async for case in benchmark.cases(bench):
        for figure in await _measure(benchmark.name, case, case.rounds or bench.scale.rounds, bench.scale):
            yield figure


async def _measure(name: str, case: Case, rounds: int, scale: Scale) -> list[Figure]:
    samplers = {"": case.product, **case.limits}
    samples: dict[str, list[float]] = defaultdict(list)
    if case.warm and scale.size != "tiny":
        for sampler in samplers.values():
            await sampler()
    for number in range(rounds):
        turn = list(samplers) if number % 2 else list(reversed(samplers))
        for which in turn:
            gc.collect()
            samples[which].append(await samplers[which]())
    return [_figure(name, case, samples, limit) for limit in case.limits or [None]]


def _figure(name: str, case: Case, samples: Mapping[str, list[float]], limit: str | None) -> Figure:
    values = samples[""]
    value = statistics.median(values)
    goal = case.goal if limit is None or limit == next(iter(case.limits)) else None
    if limit is None:
        met = goal.met(value, None) if goal else None
        return Figure(name, case.name, case.unit, value, min(values), max(values), goal=goal, met=met)
    ratio = statistics.median(mine / bare for mine, bare in zip(values, samples[limit], strict=True))
    return Figure(
        name,
        case.name,
        case.unit,
        value,
        min(values),
        max(values),
        limit,
        statistics.median(samples[limit]),
        ratio,
        goal,
        goal.met(value, ratio) if goal else None,
    )
