"""A JSON value with `{{ }}` in its strings, compiled to one closure that renders it.

A string that is one template keeps the type of what it names; other strings are joined as text (numbers,
objects and lists as JSON). Rendering copies containers, so nothing rendered shares state with the journal, and
spends a budget of `limits.PAYLOAD`, so that a small template cannot multiply a large value.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from engine import limits
from engine.documents import pointer
from engine.errors import Fault, Invalid, TaskError
from engine.expressions.paths import Segment, parse_path

_encode = msgspec.json.Encoder().encode
_MISSING = object()
INPUT_ROOTS = frozenset({"input", "payload", "data", "parameters"})
TASK_FIELDS = ("output", "status", "error")


class TaskScope(Protocol):
    """What a template may ask of a task."""

    output: Any
    status: Any
    error: Any


class Scope(Protocol):
    """What a template may refer to: the state of an execution."""

    execution_id: int
    input: Any
    tasks: Mapping[str, TaskScope]


Budget = list[int]
"""One number: what a rendering may still produce, in bytes of JSON at the least."""
Render = Callable[[Any, Budget], Any]


class Template:
    """A compiled value: the task keys it refers to with their pointers, and whether it has any `{{ }}`."""

    __slots__ = ("_render", "constant", "references")

    def __init__(self, render: Render, references: dict[str, str], constant: bool) -> None:
        self._render = render
        self.references = references
        self.constant = constant

    def render(self, scope: Any) -> Any:
        """The value for a `Scope`. Raises `TaskError` (not retryable) when a part is not there, or it is too large."""
        return self._render(scope, [limits.PAYLOAD])


class _Compiler:
    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.references: dict[str, str] = {}
        self.templates = 0

    def value(self, value: Any, where: str) -> Render:
        if isinstance(value, str) and "{{" in value:
            return self.text(value, where)
        if isinstance(value, dict):
            return _render_object({k: self.value(v, where + pointer(k)) for k, v in value.items()})
        if isinstance(value, list):
            return _render_list([self.value(v, where + pointer(i)) for i, v in enumerate(value)])
        return lambda scope, budget: value

    def text(self, text: str, where: str) -> Render:
        self.templates += 1
        if len(text) > limits.TEMPLATE:
            self.faults.append(Fault(f"a template has at most {limits.TEMPLATE} characters", where, "template"))
            return _nothing
        pieces = list(self.pieces(text, where))
        if len(pieces) == 1 and not isinstance(pieces[0], str):
            return pieces[0]
        return _render_text(pieces)

    def pieces(self, text: str, where: str) -> Iterator[str | Render]:
        position = 0
        while (begin := text.find("{{", position)) >= 0:
            end = text.find("}}", begin + 2)
            if end < 0:
                self.faults.append(Fault("a template begins with {{ and does not end with }}", where, "template"))
                break
            if begin > position:
                yield text[position:begin]
            yield self.path(text[begin + 2 : end].strip(), where)
            position = end + 2
        if position < len(text):
            yield text[position:]

    def path(self, text: str, where: str) -> Render:
        try:
            root, *rest = parse_path(text)
        except Invalid as error:
            self.faults.append(Fault(error.message, where, "template"))
            return _nothing
        if root in INPUT_ROOTS:
            return _walk(_input, tuple(rest), text)
        if root == "execution" and rest == ["id"]:
            return lambda scope, budget: scope.execution_id
        if root == "tasks" and len(rest) >= 2 and isinstance(rest[0], str) and rest[1] in TASK_FIELDS:
            self.references.setdefault(rest[0], where)
            return _walk(_task_field(rest[0], str(rest[1])), tuple(rest[2:]), text)
        hint = "use input.…, tasks.<key>.output.…, tasks.<key>.status, tasks.<key>.error or execution.id"
        self.faults.append(Fault(f"unknown path {text[:200]!r} in a template; {hint}", where, "template_unknown_path"))
        return _nothing


def compile_template(value: Any, where: str = "") -> tuple[Template, list[Fault]]:
    """Compiles `value`; faults carry pointers below `where`."""
    compiler = _Compiler()
    render = compiler.value(value, where)
    return Template(render, compiler.references, not compiler.templates), compiler.faults


def has_template(value: Any) -> bool:
    """Whether any string in `value` has a template."""
    if isinstance(value, str):
        return "{{" in value
    if isinstance(value, dict):
        return any(has_template(child) for child in value.values())
    return isinstance(value, list) and any(has_template(child) for child in value)


def _nothing(scope: Scope, budget: Budget) -> None:
    return None


def _input(scope: Scope) -> Any:
    return scope.input


def _render_object(children: dict[str, Render]) -> Render:
    items = tuple(children.items())
    return lambda scope, budget: {key: render(scope, budget) for key, render in items}


def _render_list(children: list[Render]) -> Render:
    return lambda scope, budget: [render(scope, budget) for render in children]


def _render_text(pieces: list[str | Render]) -> Render:
    def render(scope: Scope, budget: Budget) -> str:
        left = budget[0]
        parts = []
        for piece in pieces:
            part = piece if isinstance(piece, str) else _as_text(piece(scope, [left]))
            left -= len(part)
            if left < 0:
                raise _too_large()
            parts.append(part)
        budget[0] = left
        return "".join(parts)

    return render


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value).decode()


def _task_field(key: str, field: str) -> Callable[[Scope], Any]:
    def get(scope: Scope) -> Any:
        task = scope.tasks.get(key)
        value = None if task is None else getattr(task, field)
        return msgspec.to_builtins(value) if field != "output" else value

    return get


def _walk(root: Callable[[Scope], Any], path: tuple[Segment, ...], text: str) -> Render:
    def render(scope: Scope, budget: Budget) -> Any:
        value = root(scope)
        for segment in path:
            value = _step(value, segment)
            if value is _MISSING:
                raise TaskError(f"no value at {text!r} (segment {segment!r})", type="template", retryable=False)
        value = _copy(value, budget)
        if budget[0] < 0:
            raise _too_large()
        return value

    return render


def _step(value: Any, segment: Segment) -> Any:
    if isinstance(value, dict):
        return value.get(str(segment), _MISSING)
    if isinstance(value, list) and str(segment).isdecimal():
        index = int(segment)
        return value[index] if index < len(value) else _MISSING
    return _MISSING


def _copy(value: Any, budget: Budget) -> Any:
    """Spends no more than the value has bytes as JSON."""
    if isinstance(value, str):
        budget[0] -= len(value)
    elif isinstance(value, dict):
        budget[0] -= 2 * len(value)
        return {key: _copy(child, budget) for key, child in value.items()}
    elif isinstance(value, list):
        budget[0] -= 2 * len(value)
        return [_copy(child, budget) for child in value]
    return value


def _too_large() -> TaskError:
    message = f"the templates of this task render to more than {limits.PAYLOAD} bytes"
    return TaskError(message, type="template", retryable=False)
