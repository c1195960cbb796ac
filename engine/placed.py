"""Where tasks were written: those of a graph, and those that they run many times."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from engine.bodies import BODY, KINDS, body_of, kind_of
from engine.compensation import NAMES, is_compensation
from engine.dialect_ports import Definition
from engine.errors import Fault
from engine.model import Task

PER_RUN = (
    "retry",
    "timeout",
    "heartbeat_timeout",
    "executor",
    "resources",
    "concurrency_key",
    "concurrency_limit",
)
"""What may be said of a task that concerns one attempt: of a map or loop it is said inside."""
_PLAIN = Task("")

Resolve = Callable[[str], str | None]
"""The name under which a type is stored."""


class Placed(NamedTuple):
    """A task and pointers to it, its config and its type. `names` are the roots that its templates have besides;
    `kind` is `map` or `loop` if it runs another one many times.
    """

    task: Task
    where: str
    config: str
    type: str
    names: tuple[str, ...]
    kind: str | None

    @property
    def apart(self) -> tuple[str, ...]:
        """Fields of its config that are not rendered with it."""
        return () if self.kind is None else KINDS[self.kind].apart

    @property
    def inner_names(self) -> tuple[str, ...]:
        """Roots that templates have inside it."""
        return self.names if self.kind is None else (*self.names, *KINDS[self.kind].names)

    def misplaced(self) -> Iterator[Fault]:
        """What is said of a map or loop, would have no effect on it, and belongs to what it runs."""
        if self.kind is not None and is_compensation(self.task.key):
            yield Fault(f"a compensation cannot be a {self.kind}; undo all in one task", self.type, "not_allowed")
        for field in PER_RUN if self.kind is not None else ():
            if getattr(self.task, field) != getattr(_PLAIN, field):
                message = f"{field} concerns one run of a {self.kind}: give it to the {BODY} in its config"
                yield Fault(message, f"{self.where}/{field}", "belongs_inside")

    def guards(self) -> Iterator[tuple[str, object]]:
        """Conditions that are asked between its rounds, each with its pointer."""
        for word in () if self.kind is None else KINDS[self.kind].guards:
            if self.task.config.get(word) is not None:
                yield f"{self.config}/{word}", self.task.config[word]


def config_pointer(definition: Definition, key: str) -> str:
    """Where the user wrote the config of the task `key`."""
    return definition.configs.get(key) or f"{definition.pointers.get(key, '')}/{definition.config_field}"


def all_tasks(definition: Definition, resolve: Resolve, undoing: Iterable[Task]) -> Iterator[Placed]:
    """The tasks of a graph and its compensations, each followed by what it runs many times."""
    for task in (*definition.graph.tasks, *undoing):
        where = definition.pointers.get(task.key, "")
        config = config_pointer(definition, task.key)
        kind = definition.types.get(task.key, f"{where}/type")
        names = NAMES if is_compensation(task.key) else ()
        placed: Placed | None = Placed(task, where, config, kind, names, _kind(task, resolve))
        while placed is not None:
            yield placed
            placed = _inside(placed, resolve)


def _kind(task: Task, resolve: Resolve) -> str | None:
    return kind_of(resolve(task.type) or "")


def _inside(outer: Placed, resolve: Resolve) -> Placed | None:
    body = None if outer.kind is None else body_of(outer.task.key, outer.task.config)
    if body is None:
        return None
    where = f"{outer.config}/{BODY}"
    return Placed(body, where, f"{where}/config", f"{where}/type", outer.inner_names, _kind(body, resolve))
