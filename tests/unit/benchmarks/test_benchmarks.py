"""Every benchmark runs, at a tiny size: they cannot rot unseen. What they measure is not looked at."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from benchmarks import report
from benchmarks.__main__ import benchmarks
from benchmarks.measure import Bench, Benchmark, Case, Figure, Goal, Scale, run
from benchmarks.servers import Servers
from tests.servers import ray_head


@pytest.mark.parametrize("benchmark", benchmarks(), ids=lambda benchmark: benchmark.name)
async def test_runs(benchmark: Benchmark, postgres_server: str, redis_url: str) -> None:
    ray = ray_head() if benchmark.name == "ray" else None
    with Servers(postgres_server, redis_url, ray) as servers:
        figures = [figure async for figure in run(benchmark, Bench(Scale("tiny"), servers))]
    assert figures
    assert all(figure.value >= 0 and figure.benchmark == benchmark.name for figure in figures)


def test_chooses_by_the_beginning_of_the_name() -> None:
    assert {one.name for one in benchmarks(["w1", "rest"])} == {"w1", "rest_get", "rest_post"}


async def test_a_ratio_is_taken_in_each_round() -> None:
    mine, bare = iter([0.0, 10.0, 40.0, 90.0]), iter([0.0, 10.0, 20.0, 30.0])

    async def product() -> float:
        return next(mine)

    async def limit() -> float:
        return next(bare)

    async def cases(_bench: Bench) -> AsyncIterator[Case]:
        yield Case("work", "per s", product, {"bare": limit}, Goal("at least", 2.0, "ratio"))

    made = Benchmark("made", "up", cases)
    (figure,) = [figure async for figure in run(made, Bench(Scale("quick"), Servers()))]
    assert (figure.value, figure.low, figure.high, figure.limit, figure.ratio) == (40, 10, 90, 20, 2)
    assert figure.met


@pytest.mark.parametrize(
    ("goal", "value", "ratio", "met"),
    [
        (Goal("at least", 100.0), 100.0, None, True),
        (Goal("at least", 100.0), 99.0, 5.0, False),
        (Goal("at most", 1.3, "ratio"), 99.0, 1.3, True),
        (Goal("at most", 1.3, "ratio"), 1.0, 1.4, False),
    ],
)
def test_goals(goal: Goal, value: float, ratio: float | None, met: bool) -> None:
    assert goal.met(value, ratio) is met


def test_reports_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    goal = Goal("at least", 1 / 3, "ratio")
    figure = Figure("w2", "much", "tasks/s", 12_345.6, 12_000.0, 13_000.0, "bare", 30_000.0, 0.4115, goal, True)
    where = report.conditions("18.1", (0.1, 0.2))
    report.show(where, [figure])
    shown = capsys.readouterr().out
    assert "| w2 " in shown
    for part in (
        "12,346 tasks/s (12,000–13,000)",
        "30,000 bare",
        "0.411",
        "≥ 0.333 × limit",
        "yes",
        "1 of 1 goals met",
    ):
        assert part in shown
    assert msgspec.json.decode(report.as_json(where, [figure]))["figures"][0]["goal"]["of"] == "ratio"
