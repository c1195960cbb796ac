"""What an expression is evaluated against, and what it may spend."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from engine import limits
from engine.errors import TaskError


class TaskScope(Protocol):
    """What an expression may ask of a task."""

    output: Any
    status: Any
    error: Any


class Scope(Protocol):
    """What an expression may refer to: the state of an execution. `now` is epoch seconds."""

    execution_id: int
    input: Any
    tasks: Mapping[str, TaskScope]
    now: float


class Named:
    """A scope with names of its own, such as `item` and `index` inside a map: see `compile_template(names=…)`."""

    __slots__ = ("execution_id", "input", "names", "now", "tasks")

    def __init__(self, scope: Scope, names: Mapping[str, Any]) -> None:
        self.execution_id = scope.execution_id
        self.input = scope.input
        self.tasks = scope.tasks
        self.now = scope.now
        self.names = names


class Inner:
    """The scope inside JSONLogic's array operators: `input` is the item, `outer` the scope of the whole."""

    __slots__ = ("input", "outer")

    def __init__(self, outer: Any) -> None:
        self.outer = outer
        self.input: Any = None


Budget = list[int]
"""Two numbers: bytes of JSON that may still be produced, and steps that may still be made."""
Render = Callable[[Any, Budget], Any]
"""A compiled expression. What it returns may be shared with the scope; only `Template.render` hands out copies."""


def new_budget() -> Budget:
    return [limits.PAYLOAD, limits.STEPS]


def spend(budget: Budget, steps: int) -> None:
    """Raises `TaskError` when there are no more. A step is worth some 100 ns."""
    budget[1] -= steps
    if budget[1] < 0:
        raise failure(f"the expressions of this task need more than {limits.STEPS} steps; do less in one task")


def spend_text(budget: Budget, length: int) -> None:
    """For reading or making a text of so many characters."""
    if length > limits.PAYLOAD:
        raise failure(f"an expression makes a text of more than {limits.PAYLOAD} bytes")
    spend(budget, length >> 6)


def failure(message: str) -> TaskError:
    return TaskError(message, type="template", retryable=False)


class NoValue(TaskError):
    """A path leads nowhere; `default(…)` takes it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, type="template", retryable=False)


def too_large() -> TaskError:
    return failure(f"the templates of this task render to more than {limits.PAYLOAD} bytes")


def too_deep() -> TaskError:
    return failure(f"an expression makes a value nested deeper than {limits.DEPTH} levels")
