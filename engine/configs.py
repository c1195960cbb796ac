"""How the config of a node type is written: its fields, their other spellings, and what is wrong with one.

The stored form of a config has one spelling, so that the same meaning has the same digest.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import inspect

from engine.bodies import BODY, Body
from engine.documents import pointer
from engine.errors import Fault
from engine.expressions.templates import has_template
from engine.graph import suggestion
from engine.rendering import RULE, replaced, steps_of
from engine.task_ports import Shape

Place = tuple[str, ...]
"""Steps into a config; `*` is every item."""
Check = Callable[[Any], object]

_PLACE = re.compile(r" - at `\$(.*)`$")
_WORD = re.compile(r"Invalid (?:enum )?value '(.*)'")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")


class ConfigShape:
    """What is known of the configs of one node type."""

    def __init__(
        self,
        type: str,  # noqa: A002
        shape: Shape,
        spellings: Mapping[str, str],
        same: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self.shape = shape
        self._same = same
        self._verbatim = tuple(_marked(inspect.type_info(shape), "verbatim", ()))
        self._conditions = tuple(_marked(inspect.type_info(shape), "condition", ()))
        self._guards = tuple(_marked(inspect.type_info(shape), "guard", ()))
        self._rules = tuple(_marked(inspect.type_info(shape), "rule", ()))
        self._secret = tuple(_marked(inspect.type_info(shape), "secrets", ()))
        self._checks = dict(_checks(shape))
        self._type = type
        self._fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
        self._has_body = BODY in self._fields and self._fields[BODY].type is Body
        self._closed = shape.__struct_config__.forbid_unknown_fields
        meant = {name: name for name in self._fields} | dict(spellings)
        self._spellings = {_camel(spelled): name for spelled, name in meant.items()} | meant

    def schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of a rendered config."""
        return msgspec.json.schema(self.shape)

    def canonical(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """`config` with each field under its own name, and equal values alike."""
        named = {name: config[spelled] for name, spelled in self._written(config).items()}
        return named if self._same is None else self._same(named)

    def conditions(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Pointers to the conditions in a config, as it was written, and after `RULE` to the rules."""
        rules = (RULE + place for place in self._places(self._rules, config))
        return (*self._places(self._conditions, config), *rules)

    def _places(self, marked: Sequence[Place], config: Mapping[str, Any]) -> tuple[str, ...]:
        if not marked:
            return ()
        written = self._written(config)
        found = (
            _values(config[written[name]], rest, pointer(written[name])) for name, *rest in marked if name in written
        )
        return tuple(place for values in found for place, value in values if value is not None)

    def public(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The config without what stands in fields that may have secrets."""
        for place in self._places(self._secret, config):
            config = replaced(config, steps_of(config, place), None)
        return config

    def faults(self, config: Mapping[str, Any], where: str, *, whole: bool = True) -> list[Fault]:
        """What is wrong with a config as it was written; values with templates are left to the run.

        Conditions are not looked at here: see `engine.rendering`; nor is the config of a task inside this one. Not
        `whole`: fields may be missing.
        """
        for place in (*self.conditions(config), *self._places(self._guards, config)):
            config = replaced(config, steps_of(config, place), True)
        if self._has_body and isinstance(body := config.get(BODY), dict) and isinstance(body.get("config"), dict):
            config = {**config, BODY: {**body, "config": {}}}
        written = self._written(config)
        faults = [
            Fault(f"{name!r} is required by {self._type}", where + pointer(name), "required")
            for name, field in self._fields.items()
            if whole and field.required and name not in written
        ]
        for name, spelled in written.items():
            if name in self._fields:
                faults.extend(self._field_faults(name, config[spelled], where + pointer(spelled)))
            elif self._closed:
                message = f"{self._type} has no field {name!r:.100}{suggestion(name, self._fields)}"
                faults.append(Fault(message, where + pointer(spelled), "unknown_field"))
        if whole and not faults and not has_template(dict(config)):
            faults.extend(self._whole_faults(config, written, where))
        return faults

    def _whole_faults(self, config: Mapping[str, Any], written: Mapping[str, str], where: str) -> list[Fault]:
        """What only all fields together show. What begins with the name of a field is about that field."""
        try:
            msgspec.convert(self.canonical(config), self.shape)
        except msgspec.ValidationError as error:
            message, place = reason_of(error)
            name = message.partition(": ")[0]
            near = pointer(written[name]) if not place and name in written else place
            return [Fault(message, where + near, "invalid_config")]
        return []

    def _written(self, config: Mapping[str, Any]) -> dict[str, str]:
        """Fields, and how each was spelled. What means a field that is there already stays what it is: a fault."""
        written = {name: name for name in config if name in self._fields}
        for name in config:
            if name not in self._fields:
                meant = self._spellings.get(name, name)
                written[name if meant in written else meant] = name
        return written

    def _field_faults(self, name: str, value: Any, where: str) -> list[Fault]:
        if not has_template(value) or self._fields[name].type is Body:
            return _faults(value, self._fields[name].type, where, self._checks.get(name))
        texts = (found for place in self._verbatim if place[0] == name for found in _values(value, place[1:], where))
        message = f"{name} is taken as it is written and cannot have templates; pass values beside it"
        return [Fault(message, at, "template_not_allowed") for at, text in texts if has_template(text)]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _marked(kind: inspect.Type, mark: str, place: Place) -> Iterator[Place]:
    """The places whose type has `mark` in its `extra`."""
    match kind:
        case inspect.Metadata(type=inner, extra=extra):
            if extra and extra.get(mark):
                yield place
            yield from _marked(inner, mark, place)
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from _marked(field.type, mark, (*place, field.encode_name))
        case inspect.UnionType(types=types):
            for one in types:
                yield from _marked(one, mark, place)
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            yield from _marked(item, mark, (*place, "*"))
        case inspect.DictType(value_type=value):
            yield from _marked(value, mark, (*place, "*"))
        case _:
            pass


def _values(value: Any, place: Sequence[str], where: str) -> Iterator[tuple[str, Any]]:
    """What stands at `place` in a value, each with its pointer."""
    if not place:
        yield where, value
    elif isinstance(value, dict):
        for key, child in value.items():
            if place[0] in (key, "*"):
                yield from _values(child, place[1:], where + pointer(key))
    elif isinstance(value, list) and place[0] == "*":
        for index, child in enumerate(value):
            yield from _values(child, place[1:], where + pointer(index))


def _checks(shape: Shape) -> Iterator[tuple[str, Check]]:
    """Of fields with `check` in the `extra` of their type: it raises `ValueError` for what it does not take."""
    for field in msgspec.structs.fields(shape):
        kind = inspect.type_info(field.type)
        if isinstance(kind, inspect.Metadata) and kind.extra and "check" in kind.extra:
            yield field.encode_name, kind.extra["check"]


def _faults(value: Any, kind: Any, where: str, check: Check | None = None) -> list[Fault]:
    try:
        taken = msgspec.convert(value, kind)
        if check is not None:
            check(taken)
    except msgspec.ValidationError as error:
        message, place = reason_of(error)
        return [_fault(where, _worded(message, kind), place)]
    except ValueError as error:
        return [_fault(where, str(error))]
    return []


def _fault(where: str, message: str, place: str = "") -> Fault:
    """What is wrong with the field at `where`."""
    return Fault(f"{where.rpartition('/')[2]}: {message}", where + place, "invalid_config")


def _worded(message: str, kind: Any) -> str:
    """Of a word that is none of those there are: which one was meant, or all of them."""
    wrong = _WORD.fullmatch(message)
    if wrong is None:
        return message
    words = _words(kind if isinstance(kind, inspect.Type) else inspect.type_info(kind))
    return f"there is no {wrong[1]!r:.100}{suggestion(wrong[1], words)}"


def _words(kind: inspect.Type) -> list[str]:
    """What may stand in a field of this type, as far as these are words."""
    match kind:
        case inspect.Metadata(type=inner):
            return _words(inner)
        case inspect.LiteralType(values=values):
            return [str(value) for value in values]
        case inspect.BoolType():
            return ["false", "true"]
        case inspect.StructType(tag=str(tag)):
            return [tag]
        case inspect.UnionType(types=types):
            return [word for one in types for word in _words(one)]
        case _:
            return []


def reason_of(error: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong, and where: a pointer into what was converted."""
    text = str(error)
    place = _PLACE.search(text)
    steps = [name or index for name, index in _STEP.findall(place.group(1)) if name or index] if place else []
    return _PLACE.sub("", text), pointer(*steps)
