"""What a workflow is written in: JSON or YAML, told by its first letter; the value, its lines and its faults."""

from functools import cached_property
from typing import Any

from engine.documents import decode_json
from engine.errors import Fault, InvalidDocument, MillraceError
from engine.yaml_documents import Lines, read_yaml


class Source:
    """The bytes as they were sent, read. `value` is an object, empty if there is none; `faults` are of the reading;
    `readable` says whether there is anything to go by in spite of them.

    Flow-style YAML begins like JSON: what is not JSON is YAML, unless `strict_json`. Raises `TooLarge`.
    """

    def __init__(self, data: bytes, *, strict_json: bool = False) -> None:
        self.data = data
        self.faults: tuple[Fault, ...] = ()
        self.readable = True
        self.is_json = strict_json or data.lstrip()[:1] in (b"{", b"[")
        self._lines: Lines | None = None
        value: Any = self._json(strict_json) if self.is_json else self._yaml()
        self.value: dict[str, Any] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict) and not len(self.faults):
            self.faults = (Fault("a workflow is an object (a mapping) with fields", "", "invalid", 1),)

    def _json(self, strict: bool) -> Any:
        try:
            return decode_json(self.data)
        except InvalidDocument as error:
            self.faults = _faults(error)
            self.readable = False
        if not strict and self.faults[0].message.startswith("not valid JSON"):
            refused, value = self.faults, self._yaml()
            self.is_json = bool(self.faults)
            self.faults = refused if self.is_json else ()
            return value
        return None

    def _yaml(self) -> Any:
        try:
            value, self._lines, faults = read_yaml(self.data)
        except InvalidDocument as error:
            self.faults = _faults(error)
            self.readable = False
            return None
        self.faults = tuple(faults)
        self.readable = True
        return value

    @cached_property
    def lines(self) -> Lines | None:
        """JSON is YAML too, nearly always: then it has lines."""
        if self._lines is None and self.is_json and not self.faults:
            try:
                return read_yaml(self.data)[1]
            except MillraceError:
                return None
        return self._lines

    def placed(self, fault: Fault) -> Fault:
        """With the line of its pointer, if that can be told."""
        if fault.line is not None or self.lines is None:
            return fault
        return Fault(fault.message, fault.pointer, fault.code, self.lines.at(fault.pointer))


def _faults(error: InvalidDocument) -> tuple[Fault, ...]:
    return error.faults or (Fault(error.message, error.pointer, error.code),)


def decode_source(data: bytes, *, strict_json: bool = False) -> dict[str, Any]:
    """The object that `data` spells. Raises `InvalidDocument` with every fault, or `TooLarge`."""
    source = Source(data, strict_json=strict_json)
    if source.faults:
        raise InvalidDocument(source.faults[0].message, faults=source.faults)
    return source.value
