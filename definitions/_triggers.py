"""`triggers` of a document: the events that start the workflow. One may stand alone as `trigger`.

Each is an object with `event` (a type; `*`: any), `condition` and `enabled`; a text alone is a type, and a JSONLogic
rule alone a condition.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from engine import limits
from engine.configs import reason_of
from engine.documents import pointer
from engine.errors import Fault
from engine.expressions.jsonlogic import NAMES
from engine.graph import suggestion
from engine.received import TriggerSpec
from engine.triggers import trigger_faults

FIELDS = ("trigger", "triggers")
_KNOWN = TriggerSpec.__struct_fields__
Faulted = Callable[[Fault], None]


def read_triggers(document: Mapping[str, Any], fault: Faulted) -> tuple[TriggerSpec, ...] | None:
    """None: the document says nothing of them."""
    written = [(pointer(name), document[name]) for name in FIELDS if document.get(name) is not None]
    if not written:
        return None
    if len(written) == 2:
        fault(Fault("trigger is one, triggers are several; give one of the two fields", "/triggers"))
    where, given = written[0]
    each = [(where + pointer(i), one) for i, one in enumerate(given)] if isinstance(given, list) else [(where, given)]
    if len(each) > limits.TRIGGERS:
        fault(Fault(f"a workflow has at most {limits.TRIGGERS} triggers", where, "too_many_triggers"))
        return ()
    found = [spec for place, one in each if (spec := _read(one, place, fault)) is not None]
    return tuple(found)


def _read(given: Any, where: str, fault: Faulted) -> TriggerSpec | None:
    alone = False
    if isinstance(given, str):
        given = {"event": given}
    if not isinstance(given, dict):
        fault(Fault("a trigger is an object with event and condition, or the type of an event", where))
        return None
    if len(given) == 1 and not given.keys() <= set(_KNOWN) and given.keys() <= NAMES:
        given, alone = {"condition": given}, True
    for name in given.keys() - set(_KNOWN):
        message = f"a trigger has no field {name!r:.100}{suggestion(name, _KNOWN)}"
        fault(Fault(message, where + pointer(name), "unknown_field"))
    try:
        spec = msgspec.convert({name: given[name] for name in _KNOWN if name in given}, TriggerSpec)
    except msgspec.ValidationError as error:
        message, place = reason_of(error)
        fault(Fault(f"trigger: {message}", where + place))
        return None
    for wrong in trigger_faults(spec, where):
        below = wrong.pointer.replace(f"{where}/condition", where, 1) if alone else wrong.pointer
        fault(msgspec.structs.replace(wrong, pointer=below))
    return spec
