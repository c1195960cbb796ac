"""What an executor reports, made fit for the journal.

Handlers are other people's code: an outcome may be none, hold what is not JSON, change after it was given, or be
larger than a limit. What is wrong with it is a failure of the attempt, never of the engine.
"""

import math
from typing import Any, assert_never

import msgspec

from engine import events as ev
from engine import limits
from engine.documents import check_value, digest
from engine.errors import InvalidDocument, MillraceError, TaskError
from engine.graph import ERROR_LABEL, Vertex
from engine.model import (
    Answer,
    Ask,
    AwaitSignal,
    Completed,
    Failed,
    Failure,
    FanOut,
    Lost,
    Outcome,
    Publication,
    Result,
    Sleep,
    StartChild,
    Usage,
)
from engine.received import WHAT_TYPES_ARE, NewReceived, is_event_type
from engine.verdicts import KIND, ApprovalRequest
from engine.waits import NewWait, signal_name

_encode = msgspec.json.Encoder().encode
LAST_MOMENT = 253_402_300_799.0
"""The end of the year 9999: what a time on the wire can say."""
_OUTCOMES: tuple[type, ...] = (Completed, Sleep, AwaitSignal, FanOut, StartChild)
_NUMBERS = (int, float)
MOST_TOKENS = 2**40
"""Of one attempt: sums stay below 2**53."""
ERROR_TEXT = 10_000
"""Characters of an error's type and message that are kept."""


def record_of(key: str, outcome: Outcome, elapsed: float, depth: int = 0) -> tuple[ev.Event, ev.EventRecord]:
    """The event that says `outcome`, and its stored form. Raises `TaskError`, not retryable, if it cannot be stored.

    `depth` is that of the execution: see `engine.received`.
    """
    event = _event_of(key, outcome, elapsed)
    record = ev.encode(event)
    if len(record.data) > limits.PAYLOAD:
        raise _too_large(len(record.data))
    if isinstance(outcome, Completed) and outcome.publish:
        received = tuple(_received(one, depth + 1) for one in _publications(outcome.publish))
        return event, msgspec.structs.replace(record, publishes=received)
    return event, record


def check_size(output: Any) -> None:
    """Raises `TaskError`, not retryable, for an output that is put together of others and larger than one may be."""
    size = len(_encode(output))
    if size > limits.PAYLOAD:
        raise _too_large(size)


def portable(key: str, result: Result, elapsed: float) -> Result:
    """`result` as plain JSON, fit to travel; what cannot be stored becomes the failure that says why."""
    if isinstance(result, Lost):
        return result
    if isinstance(result, Failed):
        return Failed(storable(result.error, key), result.retryable, spent(result.usage))
    try:
        if isinstance(result, StartChild):
            return plain_start(result)
        event, _ = record_of(key, result, elapsed)
        publish = _publications(result.publish) if isinstance(result, Completed) and result.publish else ()
    except TaskError as error:
        return unfit(key, result, error)
    match event:
        case ev.TaskSleeping(seconds=seconds, until=until, output=output):
            return Sleep(seconds, until, output)
        case ev.TaskAwaiting(name=name, timeout=timeout, otherwise=otherwise):
            ask = result.ask if isinstance(result, AwaitSignal) else None
            return AwaitSignal(name, timeout, None if ask is None else _ask(ask), otherwise)
        case ev.TaskCompleted(output=output, label=label, usage=usage):
            return Completed(output, label, publish, usage)
        case ev.TaskFannedOut(count=count, max_parallel=parallel, tolerated=tolerated):
            return FanOut(count, parallel, tolerated)
        case _:
            raise AssertionError(f"{type(event).__name__} is not the event of an outcome")


def unfit(key: str, outcome: Outcome, error: TaskError) -> Failed:
    """The failure that an outcome becomes because of `error`; what it has spent is spent."""
    return Failed(Failure(error.type, error.message, key), error.retryable, spent(getattr(outcome, "usage", None)))


def _event_of(key: str, outcome: Outcome, elapsed: float) -> ev.Event:
    if not isinstance(outcome, _OUTCOMES):
        what = type(outcome).__name__
        known = "Completed, Sleep, AwaitSignal, FanOut or StartChild"
        raise _bad(f"the node returned {what}, not an outcome ({known})", "bad_outcome")
    match outcome:
        case Completed(output=output, label=label, usage=usage):
            return ev.TaskCompleted(key, _value(output), _label(label), measured(elapsed), spent(usage))
        case Sleep(seconds=seconds, until=until, output=output):
            seconds = _number(seconds, "Sleep.seconds", limits.DURATION)
            return ev.TaskSleeping(key, seconds, None if until is None else _moment(until), _value(output))
        case AwaitSignal(name=name, timeout=timeout, ask=None, otherwise=otherwise):
            return ev.TaskAwaiting(key, _name(name), _patience(timeout), otherwise=_answer(otherwise))
        case AwaitSignal(timeout=timeout, ask=ask, otherwise=otherwise):
            ask = _ask(ask)
            name = signal_name(key)
            return ev.TaskAwaiting(key, name, _patience(timeout), ask.kind, ask.reason or None, _answer(otherwise))
        case FanOut(count=count, max_parallel=parallel, tolerated=tolerated):
            count = _whole(count, "FanOut.count", 0, limits.ITEMS)
            parallel = _whole(parallel, "FanOut.max_parallel", 1, limits.PARALLEL)
            tolerated = _whole(tolerated, "FanOut.tolerated", 0, limits.ITEMS)
            return ev.TaskFannedOut(key, count, parallel, tolerated, measured(elapsed))
        case StartChild():
            raise AssertionError("the engine finds the child before it takes this outcome in")
        case _:
            assert_never(outcome)


def wait_of(event: ev.TaskAwaiting, outcome: AwaitSignal) -> NewWait | None:
    """The row of a wait that the world can see. `event` is what `record_of` made of `outcome`."""
    if outcome.ask is None:
        return None
    ask = _ask(outcome.ask)
    details = msgspec.json.encode(ask.details)
    return NewWait(event.task, ask.kind, ask.topic, details, event.timeout, ask.lookback)


def answered(vertex: Vertex, key: str, answer: Answer) -> ev.TaskCompleted | ev.TaskFailed:
    """How the task `key` of `vertex` ends with this answer."""
    taken = answer.label in vertex.labels
    if answer.error is not None and not taken:
        return ev.TaskFailed(key, storable(answer.error, key))
    label = answer.label if taken or not vertex.labels else None
    return ev.TaskCompleted(key, answer.output, label)


def unanswered(key: str, awaiting: str, reason: str | None) -> ev.TaskFailed:
    """The end of a wait whose time is over."""
    message = f"no signal {awaiting!r} came in time" if reason is None else f"nothing came in time: it {reason}"
    return ev.TaskFailed(key, storable(Failure("timeout", message), key))


def _publications(given: Any) -> tuple[Publication, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(one, Publication) for one in given):
        raise _bad("Completed.publish holds what is no Publication", "bad_outcome")
    return tuple(Publication(_type(one.event), _value(one.payload), _key(one.key)) for one in given)


def _received(one: Publication, depth: int) -> NewReceived:
    if depth > limits.EVENT_CHAIN:
        message = f"{limits.EVENT_CHAIN} events have led to one another; {one.event!r} would be one more"
        raise _bad(f"{message}: does it start, by a trigger, what publishes it? Give that a condition", "event_loop")
    payload = msgspec.json.encode(one.payload)
    if len(payload) > limits.PAYLOAD:
        message = f"the event's payload has {len(payload)} bytes as JSON; at most {limits.PAYLOAD} are allowed"
        raise _bad(message, "payload_too_large")
    return NewReceived(one.event, payload, one.key, digest([one.event, one.payload]), depth)


def _type(event: Any) -> str:
    if not is_event_type(event):
        raise _bad(f"the type of an event has {WHAT_TYPES_ARE}; not {event!r:.100}", "bad_event_type")
    return str(event)


def _key(key: Any) -> str | None:
    if key is None:
        return None
    if type(key) is not str or not 0 < len(key) <= limits.IDEMPOTENCY_KEY or not _encodable(key):
        raise _bad(f"the key of an event has 1 to {limits.IDEMPOTENCY_KEY} characters", "bad_outcome")
    return key


def plain_start(wanted: StartChild) -> StartChild:
    """A copy whose fields are what they should be. Raises `TaskError`, not retryable."""
    ref, version, labels = wanted.workflow, wanted.version, wanted.labels
    if type(ref) is int:
        fits = 0 < ref <= limits.MAX_INTEGER
    else:
        fits = type(ref) is str and 0 < len(ref) <= limits.NAME and _encodable(ref)
    if not fits:
        raise _bad(f"StartChild.workflow is the id or the key of a workflow, not {ref!r:.100}", "bad_outcome")
    if version is not None and not (type(version) is int and 0 < version <= limits.MAX_INTEGER):
        raise _bad(f"StartChild.version is the number of a version, not {version!r:.100}", "bad_outcome")
    if not _are_labels(labels):
        message = (
            f"StartChild.labels are at most {limits.LABELS} texts by name, each of at most {limits.NAME} characters"
        )
        raise _bad(message, "bad_outcome")
    value = {} if wanted.input is None else _value(wanted.input)
    size = len(msgspec.json.encode(value))
    if size > limits.PAYLOAD:
        message = f"the input of the child has {size} bytes as JSON; at most {limits.PAYLOAD} are allowed"
        raise _bad(message, "input_too_large")
    return StartChild(ref, version, value, bool(wanted.wait), dict(labels))


def _are_labels(labels: Any) -> bool:
    return (
        isinstance(labels, dict)
        and len(labels) <= limits.LABELS
        and all(
            type(text) is str and len(text) <= limits.NAME and _encodable(text)
            for pair in labels.items()
            for text in pair
        )
    )


def storable(error: Failure, task: str) -> Failure:
    """`error` as text that can be encoded, within its bound."""
    return Failure(_text(error.type), _text(error.message), task)


def check_way(vertex: Vertex, event: ev.Event) -> None:
    """Raises `TaskError`, not retryable, if a task that completes so would follow an edge that leads nowhere.

    Or if it is to run another one many times, and has none.
    """
    if not isinstance(event, ev.TaskCompleted):
        if isinstance(event, ev.TaskFannedOut) and vertex.inner is None:
            raise _bad(f"a task of the type {vertex.task.type!r} has no task to run many times", "bad_outcome")
        return
    for label in (None, event.label):
        if label in vertex.missing:
            way = "it" if label is None else f"its label {label!r}"
            message = f"{way} leads to the task {vertex.missing[label]!r}, which does not exist; add it"
            raise _bad(message, "unknown_label" if label else "unknown_target")
    if event.label is not None and vertex.labels and event.label not in vertex.labels:
        known = ", ".join(sorted(vertex.labels))
        raise _bad(f"no edge has its label {event.label!r}; there are: {known}", "unknown_label")


def check_ask(asked: bool | None, outcome: Outcome) -> None:
    """Raises `TaskError`, not retryable, for a second wait that the world would see."""
    if asked and isinstance(outcome, AwaitSignal) and outcome.ask is not None:
        raise _bad("a task asks the world once; this one was given more budget already", "bad_outcome")


def loss_of(key: str, result: Lost, *, alone: bool) -> ev.TaskLost:
    """The event that says `result`. Who ran `alone` is a suspect by the death of its own process, no worker's."""
    return ev.TaskLost(key, _text(result.reason), result.suspect and not (alone and result.shared))


def _patience(timeout: Any) -> float | None:
    return None if timeout is None else _number(timeout, "AwaitSignal.timeout", limits.DURATION)


def _ask(ask: Any) -> Ask:
    details = _value(ask.details) if isinstance(ask, Ask) else None
    if not isinstance(details, dict):
        raise _bad("AwaitSignal.ask is an Ask, and its details an object", "bad_outcome")
    size = len(msgspec.json.encode(details))
    if size > limits.PAYLOAD:
        raise _bad(f"AwaitSignal.ask has details of {size} bytes; at most {limits.PAYLOAD} are allowed", "bad_outcome")
    if ask.kind == KIND:
        _check_request(details)
    topic = None if ask.topic is None else _name(ask.topic)
    back = None if ask.lookback is None else _number(ask.lookback, "Ask.lookback", limits.DURATION)
    return Ask(_name(ask.kind), _text(ask.reason), topic, details, back)


def _check_request(details: dict[str, Any]) -> None:
    """Who lists approvals reads it: one that cannot be read would keep all others from being shown."""
    try:
        msgspec.convert(details, ApprovalRequest)
    except msgspec.ValidationError as error:
        raise _bad(f"the details of an approval are those of an ApprovalRequest: {error}", "bad_outcome") from None


def _answer(answer: Any) -> Answer | None:
    if answer is None:
        return None
    if not isinstance(answer, Answer):
        raise _bad("AwaitSignal.otherwise is an Answer", "bad_outcome")
    error = None if answer.error is None else Failure(_text(answer.error.type), _text(answer.error.message))
    return Answer(_value(answer.output), _label(answer.label), error)


def spent(usage: Any) -> Usage | None:
    """What a handler says that it has spent, as far as it makes sense."""
    if type(usage) is not Usage:
        return None
    sound = all(type(n) is int and 0 <= n <= MOST_TOKENS for n in (usage.input_tokens, usage.output_tokens))
    cost = usage.cost
    priced = cost is None or (type(cost) in (int, float) and 0 <= cost < math.inf)
    return usage if sound and priced else None


def _text(value: Any) -> str:
    text = str(value)[:ERROR_TEXT]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _value(output: Any) -> Any:
    """A copy, so that a handler that goes on changing what it returned does not change what was recorded."""
    if output is None:
        return None
    try:
        plain = msgspec.to_builtins(output, str_keys=True, enc_hook=_plain_scalar)
        try:
            check_value(plain)
        except InvalidDocument:
            plain = _lists(plain)
            check_value(plain)
    except (MillraceError, TypeError, ValueError, RecursionError) as error:
        raise _bad(f"the output is not plain JSON: {error}", "bad_output") from None
    return plain


def _plain_scalar(value: Any) -> Any:
    """Numbers and texts of other libraries are subclasses of ours."""
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(child) for key, child in value.items()}
    return [_lists(child) for child in value] if isinstance(value, list | tuple) else value


def _label(label: Any) -> str | None:
    if label is None:
        return None
    if label == ERROR_LABEL:
        raise _bad(f"the label {ERROR_LABEL!r} is the engine's own", "bad_outcome")
    return _name(label)


def _name(name: Any) -> str:
    if type(name) is not str or not 0 < len(name) <= limits.NAME or not _encodable(name):
        raise _bad(f"a label or signal is named by a text of 1 to {limits.NAME} characters", "bad_outcome")
    return name


def _encodable(text: str) -> bool:
    try:
        check_value(text)
    except MillraceError:
        return False
    return True


def _number(value: Any, what: str, most: float) -> float:
    if isinstance(value, _NUMBERS) and 0 <= value <= most:
        return float(value)
    raise _bad(f"{what} is a number between 0 and {most:g}, not {value!r:.100}", "bad_outcome")


def _whole(value: Any, what: str, least: int, most: int) -> int:
    if type(value) is int and least <= value <= most:
        return value
    raise _bad(f"{what} is a whole number between {least} and {most}, not {value!r:.100}", "bad_outcome")


def _moment(value: Any) -> float:
    before = isinstance(value, _NUMBERS) and math.isfinite(value) and value < 0
    return 0.0 if before else _number(value, "Sleep.until", LAST_MOMENT)


def measured(value: Any) -> float:
    """Microseconds are enough."""
    return round(float(value), 6) if isinstance(value, _NUMBERS) and 0 <= value <= limits.DURATION else 0.0


def _too_large(size: int) -> TaskError:
    return _bad(f"the output has {size} bytes as JSON; at most {limits.PAYLOAD} are allowed", "output_too_large")


def _bad(message: str, kind: str) -> TaskError:
    return TaskError(message, type=kind, retryable=False)
