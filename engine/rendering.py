"""A config whose conditions are evaluated while it is rendered: a node gets true or false, not a rule."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from engine.documents import pointer
from engine.errors import Fault
from engine.expressions.templates import Template, compile_condition, compile_template

Steps = tuple[str | int, ...]


class ConfigTemplate:
    """A compiled config: what it refers to, and how it is rendered. `kept` are fields that stay as they are written."""

    __slots__ = ("_conditions", "_kept", "_rest", "parts", "references", "secrets")

    def __init__(self, rest: Template, conditions: list[tuple[Steps, Template]], kept: Mapping[str, Any]) -> None:
        self._rest = rest
        self._conditions = conditions
        self._kept = dict(kept)
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
            _at(config, steps)[last] = condition.render(scope)
        return config | self._kept if self._kept else config


def compile_config(
    config: Mapping[str, Any],
    conditions: Iterable[str],
    where: str = "",
    names: Collection[str] = (),
    apart: Collection[str] = (),
) -> tuple[Template | ConfigTemplate, list[Fault]]:
    """`conditions` are pointers into `config`; `names` are roots of its own; fields `apart` are not rendered with it.

    Faults carry pointers below `where`.
    """
    kept = {name: config[name] for name in apart if name in config}
    rest: Any = {name: value for name, value in config.items() if name not in kept}
    compiled: list[tuple[Steps, Template]] = []
    faults: list[Fault] = []
    for place in conditions:
        steps = steps_of(config, place)
        if steps[0] in kept:
            continue
        template, wrong = compile_condition(_at(config, steps), where + pointer(*steps), names)
        rest = replaced(rest, steps, None)
        compiled.append((steps, template))
        faults += wrong
    template, wrong = compile_template(rest, where, names)
    return ConfigTemplate(template, compiled, kept) if compiled or kept else template, [*wrong, *faults]


def steps_of(config: Any, place: str) -> Steps:
    """The steps that a pointer takes in a config."""
    steps: list[str | int] = []
    for text in place.split("/")[1:]:
        step = text.replace("~1", "/").replace("~0", "~")
        steps.append(int(step) if isinstance(_at(config, steps), list) else step)
    return tuple(steps)


def _at(value: Any, steps: Iterable[str | int]) -> Any:
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
