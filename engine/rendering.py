"""A config whose conditions are evaluated while it is rendered: a node gets true or false, not a rule."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from engine.documents import pointer
from engine.errors import Fault
from engine.expressions.templates import Template, compile_condition, compile_template

Steps = tuple[str | int, ...]


class ConfigTemplate:
    """A compiled config: what it refers to, and how it is rendered."""

    __slots__ = ("_conditions", "_rest", "parts", "references", "secrets")

    def __init__(self, rest: Template, conditions: list[tuple[Steps, Template]]) -> None:
        self._rest = rest
        self._conditions = conditions
        self.references = rest.references
        self.secrets = rest.secrets
        self.parts = rest.parts
        for _, condition in conditions:
            self.parts += condition.parts
            self.references = condition.references | self.references
            self.secrets = condition.secrets | self.secrets

    def render(self, scope: Any) -> dict[str, Any]:
        """The config for a `Scope`. Raises `TaskError` (not retryable)."""
        config: dict[str, Any] = self._rest.render(scope)
        for (*steps, last), condition in self._conditions:
            at(config, steps)[last] = condition.render(scope)
        return config


def compile_config(
    config: Mapping[str, Any], conditions: Iterable[str], where: str = "", names: Collection[str] = ()
) -> tuple[Template | ConfigTemplate, list[Fault]]:
    """`conditions` are pointers into `config`. Faults carry pointers below `where`.

    `names` are roots of its own, as in `compile_template`.
    """
    rest: Any = dict(config)
    compiled: list[tuple[Steps, Template]] = []
    faults: list[Fault] = []
    for place in conditions:
        steps = steps_of(config, place)
        template, wrong = compile_condition(at(config, steps), where + pointer(*steps), names)
        rest = replaced(rest, steps, None)
        compiled.append((steps, template))
        faults += wrong
    template, wrong = compile_template(rest, where, names)
    return ConfigTemplate(template, compiled) if compiled else template, [*wrong, *faults]


def steps_of(config: Any, place: str) -> Steps:
    """The steps that a pointer takes in a config."""
    steps: list[str | int] = []
    for text in place.split("/")[1:]:
        step = text.replace("~1", "/").replace("~0", "~")
        steps.append(int(step) if isinstance(at(config, steps), list) else step)
    return tuple(steps)


def at(value: Any, steps: Iterable[str | int]) -> Any:
    """What stands there."""
    for step in steps:
        value = value[step]
    return value


def replaced(value: Any, steps: Steps, new: Any) -> Any:
    """A copy of `value` in which `new` stands at `steps`; the rest is shared."""
    if not steps:
        return new
    copy = value.copy()
    copy[steps[0]] = replaced(copy[steps[0]], steps[1:], new)
    return copy
