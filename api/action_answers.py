"""The answers about actions, as they go out."""

from collections.abc import Iterable
from typing import Any

import msgspec

from api.answers import Time, encode
from engine.actions import Action
from engine.clock import rfc3339


class ActionAnswer(msgspec.Struct, frozen=True):
    """A stored action: a node type, and the config that tasks add to."""

    name: str
    description: str | None
    handler_type: str
    config: dict[str, Any]
    created_at: Time
    updated_at: Time


def action(found: Action) -> bytes:
    return encode(_answer(found))


def actions(found: Iterable[Action]) -> bytes:
    return encode([_answer(one) for one in found])


def _answer(one: Action) -> ActionAnswer:
    made, changed = rfc3339(one.created_at) or "", rfc3339(one.updated_at) or ""
    return ActionAnswer(one.name, one.description, one.handler_type, one.config, made, changed)
