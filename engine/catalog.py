"""The node types of this process: what their configs look like, and how a call is run."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec

from engine.documents import pointer
from engine.errors import Fault, TaskError
from engine.expressions.templates import has_template
from engine.model import Outcome, TaskCall
from engine.task_ports import NodeContext, NodeHandler

_PLACE = re.compile(r" - at `\$(.*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class Catalog:
    """Handlers by type. Satisfies `engine.graph.NodeTypes`."""

    def __init__(self, handlers: Iterable[NodeHandler], executors: Iterable[str]) -> None:
        self._handlers = {handler.type: handler for handler in handlers}
        for handler in self._handlers.values():
            msgspec.json.Decoder(
                handler.shape
            )  # a shape that cannot be decoded is found at start, not at the first run
        self._fields = {t: msgspec.structs.fields(h.shape) for t, h in self._handlers.items()}
        self._executors = tuple(executors)

    def types(self) -> Iterable[str]:
        return self._handlers.keys()

    def executors(self) -> Iterable[str]:
        return self._executors

    def is_blocking(self, type: str) -> bool:  # noqa: A002
        """Whether the handler of `type` must run in a thread; False for a type that this process does not have."""
        handler = self._handlers.get(type)
        return handler is not None and handler.blocking

    def config_faults(self, type: str, config: Mapping[str, Any], where: str) -> list[Fault]:  # noqa: A002
        """What is wrong with a config before it is rendered; values with templates are left to the run."""
        fields = {field.encode_name: field for field in self._fields[type]}
        faults = [
            Fault(f"{name!r} is required by {type}", where + pointer(name), "required")
            for name, field in fields.items()
            if field.required and name not in config
        ]
        closed = self._handlers[type].shape.__struct_config__.forbid_unknown_fields
        for name, value in config.items():
            if name not in fields:
                if closed:
                    message = f"{type} has no field {name!r}; it has {', '.join(sorted(fields))}"
                    faults.append(Fault(message, where + pointer(name), "unknown_field"))
            elif not has_template(value):
                faults.extend(_fault(value, fields[name].type, where + pointer(name)))
        return faults

    def run(self, call: TaskCall, beat: Callable[[], None], context: NodeContext) -> Outcome | Awaitable[Outcome]:
        """One attempt. Raises `TaskError` when the rendered config does not fit."""
        handler = self._handlers.get(call.type)
        if handler is None:
            raise TaskError(f"this process has no node type {call.type!r}", type="unknown_node_type", retryable=False)
        try:
            config = msgspec.convert(call.config, handler.shape)
        except msgspec.ValidationError as error:
            raise TaskError(f"config: {error}", type="invalid_config", retryable=False) from None
        return handler.run(call, config, context.beating(beat))


def _fault(value: Any, kind: Any, where: str) -> list[Fault]:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        place = _PLACE.search(text)
        steps = [name or index for name, index in _STEP.findall(place.group(1))] if place else []
        name = where.rpartition("/")[2]
        return [Fault(f"{name}: {_PLACE.sub('', text)}", where + pointer(*steps), "invalid_config")]
    return []
