"""What was measured, for people and for programs."""

import os
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Figure, Goal
from deploy.processes import ROOT

PACKAGES = ("fastapi", "grpcio", "msgspec", "psycopg2-binary", "redis", "sqlalchemy", "uvicorn", "uvloop")


class Conditions(msgspec.Struct):
    """Where, when and how."""

    command: str
    date: str
    commit: str
    machine: str
    python: str
    load: str
    sqlite: str
    postgresql: str
    packages: dict[str, str]


def conditions(postgresql: str, load: tuple[float, float]) -> Conditions:
    """`load` is what others did meanwhile, too: the load average of the machine before and after."""
    return Conditions(
        " ".join(["python -m benchmarks", *sys.argv[1:]]),
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        _commit(),
        f"{os.cpu_count()} × {_processor()}, {platform.system()} {platform.release()}",
        platform.python_version(),
        f"{load[0]:.1f} to {load[1]:.1f}",
        sqlite3.sqlite_version,
        postgresql,
        {name: version(name) for name in PACKAGES},
    )


def show(where: Conditions, figures: Sequence[Figure]) -> None:
    """A table that is also Markdown."""
    table = Table(box=MARKDOWN, show_edge=True)
    for heading in ("benchmark", "what", "Millrace", "limit", "ratio", "goal", "met"):
        table.add_column(heading, justify="left" if heading in {"benchmark", "what", "goal"} else "right")
    for figure in figures:
        table.add_row(*_row(figure))
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False)
    packages = ", ".join(f"{name} {number}" for name, number in where.packages.items())
    console.print(f"`{where.command}`, {where.date}, commit {where.commit}")
    versions = f"Python {where.python}, PostgreSQL {where.postgresql}, SQLite {where.sqlite}, {packages}"
    console.print(f"{where.machine}, load average {where.load}; {versions}\n", soft_wrap=True)
    console.print(table)
    asked = [figure for figure in figures if figure.met is not None]
    console.print(f"\n{sum(bool(figure.met) for figure in asked)} of {len(asked)} goals met")


def as_json(where: Conditions, figures: Sequence[Figure]) -> str:
    return msgspec.json.format(msgspec.json.encode({"conditions": where, "figures": figures}), indent=2).decode()


def _row(figure: Figure) -> list[str]:
    spread = f" ({number(figure.low)}–{number(figure.high)})" if figure.low != figure.high else ""
    limit = "" if figure.limit is None else f"{number(figure.limit)} {figure.limit_name}"
    ratio = "" if figure.ratio is None else number(figure.ratio)
    met = "" if figure.met is None else ("yes" if figure.met else "NO")
    goal = "" if figure.goal is None else _goal(figure.goal, figure.unit)
    return [figure.benchmark, figure.name, f"{number(figure.value)} {figure.unit}{spread}", limit, ratio, goal, met]


def _goal(goal: Goal, unit: str) -> str:
    sign = "≥" if goal.sense == "at least" else "≤"
    return f"{sign} {number(goal.bound)} {'× limit' if goal.of == 'ratio' else unit}"


def number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
