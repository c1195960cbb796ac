"""What tasks are said to come to in a dry run: by task `{output, label}`, `{error}`, or a list, one per attempt."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from engine import limits
from engine.documents import pointer
from engine.errors import Fault
from engine.graph import ERROR_LABEL, suggestion
from engine.model import Completed, Failed, Failure, Record

FIELDS = ("output", "label", "error")
ERROR_FIELDS = ("type", "message", "retryable")


class Mock(Record, frozen=True):
    """How one attempt ends. Whatever its node type is, it completes or fails: it neither waits nor starts anything."""

    result: Completed | Failed


Mocks = Mapping[str, tuple[Mock, ...]]
"""By task, one per attempt; the last stands for all that follow."""


def read_mocks(value: Any, tasks: Collection[str], where: str = "") -> tuple[Mocks, list[Fault]]:
    """`tasks` are the keys that there are; faults carry pointers below `where`."""
    if value is None:
        return {}, []
    if not isinstance(value, dict):
        return {}, [Fault("mocks are an object: what each task comes to, by its key", where)]
    mocks: dict[str, tuple[Mock, ...]] = {}
    faults: list[Fault] = []
    for key, given in value.items():
        place = where + pointer(key)
        if key not in tasks:
            faults.append(Fault(f"there is no task {key!r:.100}{suggestion(key, tasks)}", place, "unknown_task"))
        each = given if isinstance(given, list) else [given]
        if not each:
            faults.append(Fault("a list of mocks has one for the first attempt at least", place))
        places = [place + pointer(index) if isinstance(given, list) else place for index in range(len(each))]
        mocks[key] = tuple(_mock(one, at, faults) for one, at in zip(each, places, strict=True))
    return mocks, faults


def unknown_fields(value: Mapping[str, Any], known: Iterable[str], where: str) -> list[Fault]:
    """Fields that nobody reads are mistakes."""
    names = list(known)
    return [
        Fault(f"there is no field {name!r:.100}{suggestion(name, names)}", where + pointer(name), "unknown_field")
        for name in value
        if name not in names
    ]


def _mock(given: Any, where: str, faults: list[Fault]) -> Mock:
    if not isinstance(given, dict):
        faults.append(Fault(f"a mock is an object with {', '.join(FIELDS)}", where))
        return Mock(Completed())
    faults += unknown_fields(given, FIELDS, where)
    if "error" in given:
        if len(given) > 1:
            faults.append(Fault("a mock has either an error, or an output and a label", where))
        return Mock(_error(given["error"], f"{where}/error", faults))
    label = given.get("label")
    if label is not None and (not isinstance(label, str) or not 0 < len(label) <= limits.NAME or label == ERROR_LABEL):
        faults.append(Fault(f"a label is a text of 1 to {limits.NAME} characters", f"{where}/label"))
        label = None
    return Mock(Completed(given.get("output"), label))


def _error(given: Any, where: str, faults: list[Fault]) -> Failed:
    if isinstance(given, str):
        return Failed(Failure("error", given))
    if not isinstance(given, dict):
        faults.append(Fault("an error is a text, or an object with type, message and retryable", where))
        return Failed(Failure("error", ""))
    faults += unknown_fields(given, ERROR_FIELDS, where)
    kind, message, retryable = given.get("type", "error"), given.get("message", ""), given.get("retryable", True)
    for name, value, wanted in (("type", kind, str), ("message", message, str), ("retryable", retryable, bool)):
        if not isinstance(value, wanted):
            what = "true or false" if wanted is bool else "a text"
            faults.append(Fault(f"{name} is {what}", f"{where}/{name}"))
    return Failed(Failure(str(kind), str(message)), bool(retryable))
