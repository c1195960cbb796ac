"""What a task that refers to an action means, and the actions as use cases."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NoReturn, Protocol

from msgspec import structs

from engine import limits
from engine.actions import ACTION, NAME, Action, Actions, ActionStore, NewAction
from engine.bodies import BODY, SPELLINGS
from engine.checks import NodeTypes, secret_faults, unknown_type
from engine.dialect_ports import Definition
from engine.documents import check_payload
from engine.errors import ActionNotFound, Fault, Invalid
from engine.expressions.templates import compile_template
from engine.model import DEFAULT_NAMESPACE, Graph, Task
from engine.rendering import compile_config

REFERRING = SPELLINGS | {ACTION}
"""Types whose tasks may refer to an action."""


def named_in(graph: Graph) -> tuple[str, ...]:
    """The names that tasks refer to, sorted."""
    return tuple(sorted({name for task in graph.tasks for work in works_of(task) for name in names_in(*work)}))


def works_of(task: Task) -> list[tuple[str, dict[str, Any]]]:
    """Type and config of a task, and of what undoes it."""
    undo = task.compensate
    return [(task.type, task.config), *([] if undo is None else [(undo.type, undo.config)])]


def names_in(kind: str | None, config: Mapping[str, Any]) -> Iterator[str]:
    """The actions that a task of this type refers to."""
    name = config.get("action") if kind == ACTION else None
    if isinstance(name, str):
        yield name
    if (body := _body(kind, config)) is not None:
        yield from names_in(*body)


def _body(kind: str | None, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Type and config of what it runs many times."""
    body = config.get(BODY) if kind in SPELLINGS else None
    if not isinstance(body, dict) or not isinstance(body.get("type"), str):
        return None
    inner = body.get("config", {})
    return (body["type"], inner) if isinstance(inner, dict) else None


def merged(config: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Objects field by field, at any depth; of everything else the task's own goes first."""
    whole = dict(config)
    for name, value in own.items():
        theirs = whole.get(name)
        whole[name] = merged(theirs, value) if isinstance(theirs, dict) and isinstance(value, dict) else value
    return whole


def resolved(definition: Definition, actions: Actions, nodes: NodeTypes) -> Definition:
    """With each action that exists in the place of the task that refers to it; the others stay as they are."""
    tasks = tuple(_stands_for(task, actions, nodes) for task in definition.graph.tasks)
    return structs.replace(definition, graph=structs.replace(definition.graph, tasks=tasks))


def _stands_for(task: Task, actions: Actions, nodes: NodeTypes) -> Task:
    """The same task if nothing of it refers to an action that exists."""
    now = _resolve(task.type, task.config, actions, nodes)
    if now is not None:
        task = structs.replace(task, type=now[0], config=now[1])
    undo = task.compensate
    if undo is not None and (now := _resolve(undo.type, undo.config, actions, nodes)) is not None:
        task = structs.replace(task, compensate=structs.replace(undo, type=now[0], config=now[1]))
    return task


def _resolve(
    kind: str, config: dict[str, Any], actions: Actions, nodes: NodeTypes
) -> tuple[str, dict[str, Any]] | None:
    """What stands in the place of a type and its config; None: they stay. What an action brings is taken as it is."""
    if (body := _body(kind, config)) is not None:
        inner = _resolve(*body, actions, nodes)
        return (
            None if inner is None else (kind, {**config, BODY: {**config[BODY], "type": inner[0], "config": inner[1]}})
        )
    action = actions.get(next(names_in(kind, config), ""))
    if action is None or nodes.config_faults(ACTION, config, ""):
        return None
    stored, theirs = nodes.canonical(action.handler_type, action.config)
    return stored, merged(theirs, nodes.canonical(stored, config.get("config", {}))[1])


# --- the use cases ---


class PartTypes(NodeTypes, Protocol):
    """Node types that can tell of a part of a config."""

    def part_faults(self, type: str, config: Mapping[str, Any], where: str) -> list[Fault]: ...  # noqa: A002


class ActionBook:
    """The actions of this installation. `changed` is called after each change."""

    def __init__(self, store: ActionStore, nodes: PartTypes, changed: Callable[[], None]) -> None:
        self._store = store
        self._nodes = nodes
        self._changed = changed

    async def create(self, new: NewAction) -> Action:
        """Raises `Invalid` with all faults, `KeyTaken`."""
        self._check(structs.asdict(new))
        try:
            return await self._store.create_action(DEFAULT_NAMESPACE, new)
        finally:
            self._changed()

    async def update(self, name: str, changes: Mapping[str, Any]) -> Action:
        """Raises `Invalid`, `ActionNotFound`."""
        before = await self.get(name)
        self._check({**structs.asdict(before), **changes})
        try:
            found = await self._store.update_action(DEFAULT_NAMESPACE, name, changes)
        finally:
            self._changed()
        if found is None:
            _missing(name)
        return found

    async def delete(self, name: str) -> None:
        """Raises `ActionNotFound`."""
        if not NAME.fullmatch(name):
            _missing(name)
        try:
            found = await self._store.delete_action(DEFAULT_NAMESPACE, name)
        finally:
            self._changed()
        if not found:
            _missing(name)

    async def get(self, name: str) -> Action:
        """Raises `ActionNotFound`."""
        found = (await self.find([name])).get(name)
        if found is None:
            _missing(name)
        return found

    async def page(self, skip: int, limit: int) -> tuple[list[Action], int]:
        if skip < 0 or not 1 <= limit <= limits.PAGE:
            raise Invalid(f"skip is at least 0 and limit between 1 and {limits.PAGE}", pointer="/limit")
        return await self._store.list_actions(DEFAULT_NAMESPACE, skip, limit)

    async def find(self, names: Collection[str]) -> dict[str, Action]:
        """Those that exist."""
        if not names:
            return {}
        return await self._store.get_actions(DEFAULT_NAMESPACE, [name for name in names if NAME.fullmatch(name)])

    def _check(self, fields: Mapping[str, Any]) -> None:
        faults = action_faults(fields, self._nodes)
        if faults:
            raise Invalid(faults[0].message, faults=faults, code=faults[0].code)
        check_payload(fields["config"], "config")


def action_faults(fields: Mapping[str, Any], nodes: PartTypes, where: str = "") -> list[Fault]:
    """What is wrong with the fields of a `NewAction`, whatever a task adds to its config."""
    faults: list[Fault] = []
    if not NAME.fullmatch(fields["name"]):
        message = (
            "an action's name has up to 200 letters, digits, '_', '-' and '.', and begins with none of the last two"
        )
        faults.append(Fault(message, f"{where}/name", "invalid_key"))
    kind = fields["handler_type"]
    if nodes.resolve(kind) is None:
        faults.append(Fault(unknown_type(kind, nodes), f"{where}/handler_type", "unknown_node_type"))
    elif nodes.resolve(kind) == ACTION:
        message = "an action names a node type, not another action"
        faults.append(Fault(message, f"{where}/handler_type", "unknown_node_type"))
    else:
        faults += _config_faults(kind, fields["config"], nodes, f"{where}/config")
    return faults


def _config_faults(kind: str, config: Mapping[str, Any], nodes: PartTypes, where: str) -> Iterable[Fault]:
    """A field that is missing may come from the task."""
    yield from nodes.part_faults(kind, config, where)
    template, faults = compile_config(config, nodes.conditions(kind, config), where)
    yield from faults
    if template.secrets:
        yield from secret_faults(compile_template(dict(nodes.public(kind, config)), where)[0])


def _missing(name: str) -> NoReturn:
    raise ActionNotFound(f"there is no action {name!r:.100}; list them with GET /actions")
