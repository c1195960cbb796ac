"""What the engine asks of dialects: HOW a workflow is written. Each is one file in its room."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from engine.errors import Fault
from engine.model import Budget, Graph, Presentation, Record, Workflow
from engine.received import TriggerSpec


class Definition(Record, frozen=True):
    """What a dialect makes of a draft."""

    graph: Graph
    presentation: Presentation
    pointers: dict[str, str] = {}
    """Where each task stands in what the user wrote: its JSON pointer, by key. For faults."""
    config_field: str = "config"
    """What the user calls a task's config."""
    edge_field: str = ""
    """Where in a task the user wrote what it follows, if it is there."""
    configs: dict[str, str] = {}
    """Where the config of a task stands, by key, if that is not `config_field` of the task."""
    types: dict[str, str] = {}
    """Where the type of a task stands, by key, if that is not its `type`."""
    faults: tuple[Fault, ...] = ()
    """Faults of form; meaning is checked once, by `engine.checks`."""
    warnings: tuple[Fault, ...] = ()
    """What can be saved and will fail when it is reached."""


class Head(Record, frozen=True):
    """What a document says of its workflow as a whole; None: nothing."""

    name: str | None = None
    key: str | None = None
    description: str | None = None
    max_concurrency: int | None = None
    timeout: float | None = None
    triggers: tuple[TriggerSpec, ...] | None = None
    budget: Budget | None = None


class Dialect(Protocol):
    """HOW it is written. One file in `definitions/` with a module-level `dialect`."""

    name: ClassVar[str]

    def parse(self, draft: Workflow) -> Definition:
        """Raises `InvalidWorkflow` with every fault of form, or carries them."""
        ...


class DocumentDialect(Dialect, Protocol):
    """A dialect whose draft is a document; it is told by the one field that only its documents have."""

    field: ClassVar[str]

    def read(self, document: Mapping[str, Any]) -> tuple[Head, Definition]:
        """Never raises: faults of form are in the definition, which holds what could be read."""
        ...

    def write(self, head: Head, graph: Graph, presentation: Presentation) -> dict[str, Any]:
        """A document that reads to an equal graph, names and order."""
        ...
