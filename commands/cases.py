"""A file of cases: with what a workflow is walked through, what is expected of it, and what differs."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from engine.action_book import PartTypes, action_faults
from engine.actions import NewAction
from engine.clock import parse_rfc3339
from engine.documents import decode_json, pointer
from engine.dry_run import UNKNOWN, DryRun, Step
from engine.errors import Fault, Invalid, MillraceError
from engine.graph import suggestion
from engine.mocks import Mocks, read_mocks, unknown_fields
from engine.model import Failure
from engine.states import ExecutionStatus, TaskStatus
from engine.yaml_documents import Lines, read_yaml

FILE = ("cases", "actions")
CASE = ("name", "input", "mocks", "now", "expect")
EXPECT = ("status", "output", "error", "path", "called", "skipped", "tasks")
TASK = ("status", "output", "input", "label", "attempts", "error")
ACTION = ("handler_type", "config", "description")
ERROR = ("type", "message", "task")
KEYS = ("path", "called", "skipped")


class Case(NamedTuple):
    """One run and what is expected of it; `now` is the epoch at which it begins, None: now."""

    name: str
    input: Any
    mocks: Mocks
    now: float | None
    expect: Mapping[str, Any]


class Difference(NamedTuple):
    """`place` is a path into what is expected."""

    place: str
    expected: Any
    got: Any


class CaseFile:
    """The file as it was read; `faults` have their lines."""

    def __init__(self, data: bytes, *, is_json: bool) -> None:
        self.faults: list[Fault] = []
        self._lines: Lines | None = None
        self._value: Any = None
        try:
            self._value, self._lines, faults = read_yaml(data)
            self.faults += faults
            if is_json:
                self._value = decode_json(data)
        except MillraceError as error:
            self._value = None
            self.faults += error.faults or (Fault(error.message),)
        if isinstance(self._value, list):
            self._value = {"cases": self._value}

    def actions(self, nodes: PartTypes) -> dict[str, NewAction]:
        """Those that it brings, by name."""
        found: dict[str, NewAction] = {}
        for name, fields, where in self._objects("actions"):
            self._add(unknown_fields(fields, ACTION, where))
            kind, config = fields.get("handler_type"), fields.get("config", {})
            if not isinstance(kind, str) or not isinstance(config, dict):
                self._add([Fault("an action is an object with handler_type (a text) and config (an object)", where)])
                continue
            wrong = action_faults({"name": name, "handler_type": kind, "config": config}, nodes, where)
            self._add(wrong)
            if not wrong:
                found[name] = NewAction(name, kind, config)
        return found

    def cases(self, tasks: Collection[str]) -> list[Case]:
        """`tasks` are the keys of the workflow."""
        if self._value is None and self.faults:
            return []
        if not isinstance(self._value, dict) or not isinstance(self._value.get("cases"), list):
            self._add([Fault("a file of cases is a list of cases, or an object with `cases`", "")])
            return []
        self._add(unknown_fields(self._value, FILE, ""))
        if not self._value["cases"]:
            self._add([Fault("there is no case", "/cases")])
        return [self._case(given, pointer("cases", index), tasks) for index, given in enumerate(self._value["cases"])]

    def _case(self, given: Any, where: str, tasks: Collection[str]) -> Case:
        if not isinstance(given, dict):
            self._add([Fault("a case is an object with name, input, mocks and expect", where)])
            return Case("", None, {}, None, {})
        self._add(unknown_fields(given, CASE, where))
        name, expect = given.get("name"), given.get("expect")
        if not isinstance(name, str) or not name.strip():
            self._add([Fault("a case has a name", f"{where}/name", "required")])
        if not isinstance(expect, dict) or not expect:
            self._add([Fault(f"a case expects something: {', '.join(EXPECT)}", f"{where}/expect", "required")])
            expect = {}
        self._add(_expect_faults(expect, f"{where}/expect", tasks))
        mocks, faults = read_mocks(given.get("mocks"), tasks, f"{where}/mocks")
        self._add(faults)
        return Case(str(name), given.get("input", {}), mocks, self._moment(given.get("now"), f"{where}/now"), expect)

    def _moment(self, given: Any, where: str) -> float | None:
        try:
            return None if given is None else parse_rfc3339(str(given))
        except Invalid as error:
            self._add([Fault(error.message, where)])
            return None

    def _objects(self, name: str) -> Iterator[tuple[str, dict[str, Any], str]]:
        """The entries of an object of objects, each with its place."""
        value = self._value.get(name, {}) if isinstance(self._value, dict) else {}
        if not isinstance(value, dict):
            self._add([Fault(f"{name} are an object, by name", pointer(name))])
            return
        for key, entry in value.items():
            where = pointer(name, key)
            if isinstance(entry, dict):
                yield key, entry, where
            else:
                self._add([Fault("this is an object", where)])

    def _add(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            line = None if self._lines is None else self._lines.at(fault.pointer)
            self.faults.append(Fault(fault.message, fault.pointer, fault.code, line))


# --- what may be expected ---


def _expect_faults(expect: Mapping[str, Any], where: str, tasks: Collection[str]) -> Iterator[Fault]:
    yield from unknown_fields(expect, EXPECT, where)
    yield from _status_faults(expect, [*ExecutionStatus, UNKNOWN], where)
    yield from _error_faults(expect, where)
    for name in KEYS:
        given = expect.get(name, [])
        if not isinstance(given, list):
            yield Fault(f"{name} is a list of the keys of tasks", where + pointer(name))
        else:
            yield from (
                _unknown(key, tasks, where + pointer(name, i)) for i, key in enumerate(given) if key not in tasks
            )
    for key, fields in _entries(expect.get("tasks", {})):
        place = where + pointer("tasks", key)
        if key not in tasks:
            yield _unknown(key, tasks, place)
        if not isinstance(fields, dict):
            yield Fault(f"what is expected of a task is an object with {', '.join(TASK)}", place)
            continue
        yield from unknown_fields(fields, TASK, place)
        yield from _status_faults(fields, [*TaskStatus, UNKNOWN], place)
        yield from _error_faults(fields, place)
    if not isinstance(expect.get("tasks", {}), dict):
        yield Fault("tasks are an object: what is expected of each, by its key", f"{where}/tasks")


def _entries(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def _unknown(key: Any, tasks: Collection[str], where: str) -> Fault:
    return Fault(f"there is no task {key!r:.100}{suggestion(str(key), tasks)}", where, "unknown_task")


def _status_faults(fields: Mapping[str, Any], known: Collection[str], where: str) -> Iterator[Fault]:
    status = fields.get("status")
    if status is not None and status not in list(map(str, known)):
        yield Fault(f"there is no status {status!r:.100}{suggestion(str(status), map(str, known))}", f"{where}/status")


def _error_faults(fields: Mapping[str, Any], where: str) -> Iterator[Fault]:
    error = fields.get("error")
    if isinstance(error, dict):
        yield from unknown_fields(error, ERROR, f"{where}/error")
    elif error is not None and not isinstance(error, str):
        yield Fault(f"an error is its type, or an object with {', '.join(ERROR)}", f"{where}/error")


# --- what differs ---


def compare(expect: Mapping[str, Any], done: DryRun) -> list[Difference]:
    """Only what is expected is looked at."""
    found: list[Difference] = []
    seen = {
        "path": list(done.path),
        "called": list(dict.fromkeys(step.task for step in done.steps if step.calls)),
        "skipped": [step.task for step in done.steps if step.status == TaskStatus.SKIPPED],
    }
    for name, expected in expect.items():
        if name == "tasks":
            for key, fields in expected.items():
                steps = [step for step in done.steps if step.task == key]
                found += _compare_task(fields, steps, key in done.unknown, f"tasks/{key}")
        elif name == "error":
            found += _compare_error(expected, done.error, name)
        elif name in seen:
            in_order: Callable[[list[str]], list[str]] = list if name == "path" else sorted
            if in_order(expected) != in_order(seen[name]):
                found.append(Difference(name, expected, seen[name]))
        elif name == "output" and done.unknown:
            open_ones = [key for key in done.unknown if isinstance(done.output, dict) and key in done.output]
            got = {**done.output, **dict.fromkeys(open_ones, LEFT_OPEN)}
            found += differences(expected, got, name)
        else:
            found += differences(expected, getattr(done, name), name)
    return found


LEFT_OPEN = "(left open; say it with a mock)"
NOTHING = "(nothing)"


def _compare_task(expect: Mapping[str, Any], steps: list[Step], left_open: bool, where: str) -> Iterator[Difference]:
    last = steps[-1] if steps else None
    for name, expected in expect.items():
        place = f"{where}/{name}"
        if last is None:
            if (name, expected) not in (("status", "pending"), ("attempts", 0)):
                yield Difference(place, expected, "(it was never reached)")
        elif name == "attempts":
            yield from differences(expected, sum(step.attempt is not None for step in steps), place)
        elif name == "error":
            yield from _compare_error(expected, last.error, place)
        elif name == "output" and left_open:
            yield Difference(place, expected, LEFT_OPEN)
        else:
            yield from differences(expected, getattr(last, "config" if name == "input" else name), place)


def _compare_error(expected: Any, error: Failure | None, where: str) -> Iterator[Difference]:
    if expected is None or error is None:
        if expected is not None or error is not None:
            yield Difference(where, expected, None if error is None else f"{error.type}: {error.message}")
        return
    fields = {"type": expected} if isinstance(expected, str) else expected
    for name, value in fields.items():
        yield from differences(value, getattr(error, name), f"{where}/{name}")


def differences(expected: Any, got: Any, where: str) -> Iterator[Difference]:
    """The deepest places at which two JSON values differ."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in [*expected, *(key for key in got if key not in expected)]:
            yield from differences(expected.get(key, NOTHING), got.get(key, NOTHING), f"{where}/{key}")
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, (one, other) in enumerate(zip(expected, got, strict=True)):
            yield from differences(one, other, f"{where}/{index}")
    elif expected != got or isinstance(expected, bool) != isinstance(got, bool):
        yield Difference(where, expected, got)
