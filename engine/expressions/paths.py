"""Paths such as `tasks.fetch-invoice.output.lines[0]["net price"]`: our own tokenizer.

A segment may contain `-` and be a keyword of Python; `[0]` and `["any text"]` are segments too.
"""

import re

from engine.errors import Invalid

Segment = str | int

SEGMENT = r"\.[A-Za-z0-9_$-]+|\[[0-9]{1,9}\]|\[\"[^\"\\]*\"\]|\['[^'\\]*'\]"
"""One segment after the root, without groups."""
_PART = re.compile(r"\.([A-Za-z0-9_$-]+)|\[(\d{1,9})\]|\[\"([^\"\\]*)\"\]|\['([^'\\]*)'\]")
_DOTTED = re.compile(r"[A-Za-z0-9_$-]+(?:\.[A-Za-z0-9_$-]+)*")
MAX_SEGMENTS = 64


def parse_path(text: str) -> tuple[Segment, ...]:
    """The segments of a path, the root first. Raises `Invalid` with the column."""
    if _DOTTED.fullmatch(text):
        return _bounded(tuple(text.split(".")))
    segments: list[Segment] = []
    dotted = "." + text
    position = 0
    while position < len(dotted):
        match = _PART.match(dotted, position)
        if match is None or (not segments and match.group(1) is None):
            column = max(position, 1)
            raise Invalid(f"cannot read the path {text[:200]!r} at column {column}; write it like input.order.items[0]")
        segments.append(_segment(match))
        position = match.end()
    return _bounded(tuple(segments))


def _bounded(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    if len(segments) > MAX_SEGMENTS:
        raise Invalid(f"a path has at most {MAX_SEGMENTS} segments")
    return segments


def _segment(match: re.Match[str]) -> Segment:
    name, index, double, single = match.groups()
    if index is not None:
        return int(index)
    return next(text for text in (name, double, single) if text is not None)
