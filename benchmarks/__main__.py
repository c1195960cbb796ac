"""`python -m benchmarks`: runs every benchmark, or those asked for, and prints a table or JSON."""

import argparse
import os
import sys
from collections.abc import Sequence

import structlog
import uvloop

from benchmarks import report
from benchmarks.measure import Bench, Benchmark, Figure, Scale, run
from benchmarks.servers import Servers
from bootstrap.logs import configure_logs
from engine import registry


def benchmarks(only: Sequence[str] = ()) -> list[Benchmark]:
    """All, or those whose names begin with one of `only`."""
    found: list[Benchmark] = registry.scan("benchmarks.cases", "benchmark")
    return [one for one in found if not only or any(one.name.startswith(begin) for begin in only)]


async def collect(benchmark: Benchmark, bench: Bench) -> list[Figure]:
    """Says each figure as it comes, for whoever waits."""
    figures = []
    async for figure in run(benchmark, bench):
        figures.append(figure)
        ratio = "" if figure.ratio is None else f", {report.number(figure.ratio)} of {figure.limit_name}"
        print(f"  {figure.name}: {report.number(figure.value)} {figure.unit}{ratio}", file=sys.stderr, flush=True)
    return figures


def main() -> int:
    """Exit code 1 when a benchmark could not be run; a missed goal is no failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="those whose names begin so")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller work")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--list", action="store_true", help="only name them")
    asked = parser.parse_args()
    chosen = benchmarks(asked.only)
    if asked.list:
        print("\n".join(f"{one.name:16} {one.title}" for one in chosen))
        return 0
    configure_logs("warning", "console")
    figures: list[Figure] = []
    failed = 0
    load = os.getloadavg()[0]
    urls = (os.environ.get(f"TEST_{name}") for name in ("DATABASE_URL", "REDIS_URL", "RAY_ADDRESS"))
    with Servers(*urls) as servers:
        for benchmark in chosen:
            print(f"{benchmark.name}: {benchmark.title}", file=sys.stderr, flush=True)
            try:
                bench = Bench(Scale("quick" if asked.quick else "full"), servers)
                figures += uvloop.run(collect(benchmark, bench))
            except Exception:
                failed += 1
                structlog.get_logger().exception("benchmark failed", benchmark=benchmark.name)
        where = report.conditions(servers.postgres_version(), (load, os.getloadavg()[0]))
    if asked.json:
        print(report.as_json(where, figures))
    else:
        report.show(where, figures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
