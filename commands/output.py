"""What commands print: JSON for machines, words and tables for people, both on stdout."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

COLOURS = {
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "running": "cyan",
    "scheduled": "blue",
    "retrying": "yellow",
    "compensating": "yellow",
    "waiting": "yellow",
    "skipped": "bright_black",
    "pending": "bright_black",
}
_ANSI = {"green": 32, "red": 31, "magenta": 35, "cyan": 36, "blue": 34, "yellow": 33, "bright_black": 90}


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def say_json(content: Any) -> None:
    say(json.dumps(content, ensure_ascii=False))


def write_ready(file: Path | None, ready: Mapping[str, Any]) -> None:
    """Says to who started this process that it is ready; the file is there whole or not at all."""
    if file is not None:
        new = file.with_name(file.name + ".new")
        new.write_text(json.dumps(ready))
        new.replace(file)


def say_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns as wide as their content; on a terminal a status has its colour."""
    lines = [list(headers), *([cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [_coloured(text) + " " * (width - len(text)) for text, width in zip(line, widths, strict=True)]
        say("  ".join(cells).rstrip())


def cell(value: Any) -> str:
    """One line of text."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return " ".join(value.split()) or "-"
    return json.dumps(value, ensure_ascii=False)


def clock(time: str | None) -> str:
    """An RFC 3339 time as people of this machine's time zone read it."""
    if not time:
        return "-"
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def seconds_between(start: str | None, end: str | None) -> float | None:
    """None while one of them is missing."""
    if not (start and end):
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _coloured(text: str) -> str:
    code = _ANSI.get(COLOURS.get(text, ""))
    return f"\x1b[{code}m{text}\x1b[0m" if code and sys.stdout.isatty() else text
