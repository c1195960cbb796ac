"""The roots of paths: `input.…`, `tasks.<key>.output.…`, `<key>.output.…`, `execution.id`, `now`."""

import difflib
import time
from collections.abc import Collection
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from engine.clock import rfc3339
from engine.expressions.paths import Segment, parse_path
from engine.expressions.scope import Render
from engine.expressions.walks import Get, strict

INPUT_ROOTS = frozenset({"input", "payload", "data", "parameters"})
TASK_FIELDS = ("output", "status", "error")
RESERVED = frozenset({"tasks", "secrets", "execution", "now"})
"""Roots that JSONLogic's `var` finds outside the data."""
UNKNOWN = (
    "use input.…, tasks.<key>.output.…, tasks.<key>.status, tasks.<key>.error, <key>.output.…, execution.id, now "
    "or secrets.<name>"
)
_MEANT = {
    **dict.fromkeys(("inputs", "arguments", "args", "trigger", "event", "body", "vars", "variables"), "input"),
    **dict.fromkeys(("param", "params", "parameter"), "parameters"),
    **dict.fromkeys(("task", "step", "steps", "node", "nodes", "jobs"), "tasks"),
    **dict.fromkeys(("secret", "env", "credentials"), "secrets"),
    **dict.fromkeys(("workflow", "run", "exec"), "execution"),
    **dict.fromkeys(("today", "date", "time"), "now"),
}
"""What other systems call them."""
_ROOTS = sorted(INPUT_ROOTS | RESERVED)


class Root(NamedTuple):
    """How to get at its value, the path from there, and the task that it is of."""

    get: Get
    rest: tuple[Segment, ...]
    task: str | None = None


def find_root(segments: tuple[Segment, ...], names: Collection[str] = ()) -> Root | None:
    """None: there is no such root. `names` are roots that the scope has besides."""
    root, rest = segments[0], segments[1:]
    if root in names:
        return Root(lambda scope: scope.names.get(root), rest)
    if root in INPUT_ROOTS:
        return Root(input_of, rest)
    if root == "now":
        return None if rest else Root(_now, ())
    if root == "execution":
        return Root(_execution_id, ()) if rest == ("id",) else None
    key, fields = (rest[0], rest[1:]) if root == "tasks" and rest else (root, rest)
    if not isinstance(key, str) or not fields or fields[0] not in TASK_FIELDS:
        return None
    return Root(_output(key) if fields[0] == "output" else _field(key, str(fields[0])), fields[1:], key)


def plain_path(text: str) -> tuple[Render, str | None] | None:
    """A path without names of its own, compiled, and its task. Raises `Invalid`."""
    return _remembered(text) if len(text) <= 200 else _plain_path(text)


def _plain_path(text: str) -> tuple[Render, str | None] | None:
    found = find_root(parse_path(text))
    return None if found is None else (strict(found.get, found.rest, text), found.task)


_remembered = lru_cache(4096)(_plain_path)
"""A workflow is compiled many times: when it is checked, saved and loaded."""


def root_hint(root: Segment, *, suggest: bool = True) -> str:
    """For what is no root. Looking for one that is written alike costs more than all else: not for many."""
    word = str(root).lower()
    meant = _MEANT.get(word)
    if meant is None and suggest and len(word) <= 24:
        meant = next(iter(difflib.get_close_matches(word, _ROOTS, 1, 0.75)), None)
    return f", did you mean {meant!r}?; {UNKNOWN}" if meant else f"; {UNKNOWN}"


def input_of(scope: Any) -> Any:
    return scope.input


def _execution_id(scope: Any) -> Any:
    return scope.execution_id


def _now(scope: Any) -> str | None:
    """By the database's clock; by the machine's until the database has been heard (0.0)."""
    return rfc3339(scope.now or time.time())


def _output(key: str) -> Get:
    def get(scope: Any) -> Any:
        task = scope.tasks.get(key)
        return None if task is None else task.output

    return get


def _field(key: str, field: str) -> Get:
    def get(scope: Any) -> Any:
        task = scope.tasks.get(key)
        return None if task is None else msgspec.to_builtins(getattr(task, field))

    return get
