"""What a check found, and how it is printed."""

import time
from collections.abc import Sequence

import msgspec

SHOWN = 8
"""Problems printed per check; the count is always printed."""


class Outcome(msgspec.Struct):
    """`faults` is None where a check breaks nothing by itself; a check whose faults never landed has failed.

    `lost`: accepted and not ended in time. `rerun`: effects begun after their task's completion was committed.
    `double`: executions with two last records, tasks with two completions. `stale`: writes of a process whose lease
    was lost that arrived and were refused. `problems`: whatever else is not as promised.
    """

    check: str
    seed: int
    n: int
    unit: str
    faults: int | None = 0
    lost: int = 0
    rerun: int = 0
    double: int = 0
    stale: int = 0
    problems: list[str] = []
    remarks: list[str] = []
    notes: dict[str, float] = {}
    seconds: float = 0.0

    def add(self, other: "Outcome") -> None:
        """Counts what `other` found as found here; not its `n`."""
        self.faults = (self.faults or 0) + (other.faults or 0)
        self.lost += other.lost
        self.rerun += other.rerun
        self.double += other.double
        self.stale += other.stale
        self.problems += other.problems
        for name, count in other.notes.items():
            self.note(name, count)

    def note(self, name: str, count: float = 1) -> None:
        """Adds to a count that is told beside the others."""
        self.notes[name] = self.notes.get(name, 0) + count

    @property
    def faults_landed(self) -> bool:
        return self.faults is None or self.faults > 0

    @property
    def ok(self) -> bool:
        return self.faults_landed and not (self.lost or self.rerun or self.double or self.problems)

    def why(self) -> list[str]:
        """The reasons why it is not ok, the most telling first."""
        counts = [
            f"{count} {word}"
            for word, count in (("lost", self.lost), ("re-run", self.rerun), ("double", self.double))
            if count
        ]
        return [*([] if self.faults_landed else ["no fault landed: it proves nothing"]), *counts, *self.problems]


class Timed:
    """`with Timed(outcome):` sets its seconds."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def __enter__(self) -> Outcome:
        self._began = time.monotonic()
        return self._outcome

    def __exit__(self, *_: object) -> None:
        self._outcome.seconds = round(time.monotonic() - self._began, 1)


HEADER = ("check", "seed", "n", "faults", "lost", "re-run", "double", "stale refused", "seconds", "")


def table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table, a line per check."""
    rows = [HEADER, tuple("-" * len(name) for name in HEADER), *map(_row, outcomes)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in rows)


def _row(outcome: Outcome) -> tuple[str, ...]:
    faults = "–" if outcome.faults is None else str(outcome.faults)
    counts = (outcome.lost, outcome.rerun, outcome.double, outcome.stale)
    verdict = "ok" if outcome.ok else "FAILED"
    said = f"{outcome.n} {outcome.unit}"
    return (outcome.check, str(outcome.seed), said, faults, *map(str, counts), f"{outcome.seconds:.0f}", verdict)


def details(outcome: Outcome) -> str:
    """What the table has no room for, a line each."""
    notes = ", ".join(f"{name} {count:g}" for name, count in sorted(outcome.notes.items()))
    why = outcome.why()
    lines = [*([notes] if notes else []), *outcome.remarks, *why[:SHOWN]]
    if len(why) > SHOWN:
        lines.append(f"… and {len(why) - SHOWN} more reasons")
    return "\n".join(f"        {line}" for line in lines)
