"""Actions: work that is stored under a name. A task refers to it; a version has it merged in, and never looks again."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from engine.model import Record

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
ACTION = "action"
"""The type of a task that refers to one: config `{"action": NAME, "config": {…}}`."""


class NewAction(Record, frozen=True):
    """An action to be stored: what it does is a node type, and a config that tasks add to."""

    name: str
    handler_type: str
    config: dict[str, Any] = {}
    description: str | None = None


class Action(Record, frozen=True, omit_defaults=False):
    """A stored action."""

    name: str
    handler_type: str
    config: dict[str, Any]
    description: str | None
    created_at: float
    updated_at: float


Actions = Mapping[str, Action | NewAction]
"""By name."""
ReadActions = Callable[[Collection[str]], Actions]
"""Those of some names that exist, in the transaction that asks."""


class ActionStore(Protocol):
    """Where actions are kept. Each change makes the drafts that refer to the action new, so that they are compiled
    again: their `revision` grows in the same transaction.
    """

    async def create_action(self, namespace: str, new: NewAction) -> Action:
        """Raises `KeyTaken`."""
        ...

    async def update_action(self, namespace: str, name: str, changes: Mapping[str, Any]) -> Action | None:
        """Fields of `NewAction` to set, but the name. None: there is no such action."""
        ...

    async def delete_action(self, namespace: str, name: str) -> bool:
        """Whether it existed."""
        ...

    async def list_actions(self, namespace: str, skip: int, limit: int) -> tuple[list[Action], int]:
        """A page by name, and how many there are."""
        ...

    async def get_actions(self, namespace: str, names: Collection[str]) -> dict[str, Action]:
        """Those that exist."""
        ...
