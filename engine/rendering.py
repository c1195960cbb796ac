"""A config whose conditions are evaluated while it is rendered: a node gets true or false, not a rule."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from engine.documents import pointer
from engine.errors import Fault
from engine.expressions.templates import Template, compile_condition, compile_template
from engine.expressions.tree import pointer_of

Steps = tuple[str | int, ...]
RULE = "rule:"
"""Begins the pointer of a rule: it is not evaluated but handed on, its templates rendered apart."""
VALUES = "@"
"""What a rule calls the values of its templates."""


class ConfigTemplate:
    """A compiled config: what it refers to, and how it is rendered. `kept` are fields that stay as they are written."""

    __slots__ = ("_conditions", "_kept", "_rest", "parts", "references", "secrets")

    def __init__(
        self, rest: Template, conditions: list[tuple[Steps, "Template | RuleTemplate"]], kept: Mapping[str, Any]
    ) -> None:
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
            at(config, steps)[last] = condition.render(scope)
        return config | self._kept if self._kept else config


class RuleTemplate:
    """A JSONLogic rule about data that is not here yet. Renders to `rule`, and the `values` that its templates had.

    In the rule `{"var": "@.<n>"}` stands where a template stood, so that nothing that was rendered is ever read as a
    part of the rule.
    """

    __slots__ = ("_places", "_rule", "_values", "parts", "references", "secrets")

    def __init__(self, rule: Any, values: Template, places: list[Steps]) -> None:
        self._rule, self._values, self._places = rule, values, places
        self.references, self.secrets, self.parts = values.references, values.secrets, values.parts

    def render(self, scope: Any) -> dict[str, Any]:
        """Raises `TaskError` (not retryable)."""
        rendered = self._values.render(scope)
        return {"rule": self._rule, "values": [at(rendered, steps) for steps in self._places]}


def compile_rule(value: Any, where: str = "", names: Collection[str] = ()) -> tuple[RuleTemplate, list[Fault]]:
    """Faults carry pointers below `where`; `references` are tasks whose outputs its templates need.

    `names` are roots of these templates.
    """
    places = list(_templates(value, ()))
    rule = value
    for number, steps in enumerate(places):
        rule = replaced(rule, steps, {"var": f"{VALUES}.{number}"})
    values, faults = compile_template(value, where, names)
    if not isinstance(value, dict | bool):
        faults.append(Fault('a filter is a JSONLogic rule, such as {"==": [{"var": "a"}, 1]}', where, "jsonlogic"))
        return RuleTemplate(True, values, []), faults
    checked, wrong = compile_condition(rule, where, names={VALUES})
    for key, place in checked.references.items():
        message = f"a filter looks at what comes; of the task {key!r:.100} say {{{{tasks.{key:.100}.output…}}}}"
        wrong.append(Fault(message, pointer_of(place), "template_unknown_path"))
    return RuleTemplate(rule, values, places), faults + wrong


def _templates(value: Any, steps: Steps) -> Iterator[Steps]:
    if isinstance(value, str) and "{{" in value:
        yield steps
    elif isinstance(value, dict | list):
        for step, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _templates(child, (*steps, step))


def compile_config(
    config: Mapping[str, Any],
    conditions: Iterable[str],
    where: str = "",
    names: Collection[str] = (),
    apart: Collection[str] = (),
) -> tuple[Template | ConfigTemplate, list[Fault]]:
    """`conditions` are pointers into `config`, those of rules after `RULE`; `names` are roots of its own; fields
    `apart` are not rendered with it.

    Faults carry pointers below `where`.
    """
    kept = {name: config[name] for name in apart if name in config}
    rest: Any = {name: value for name, value in config.items() if name not in kept}
    compiled: list[tuple[Steps, Template | RuleTemplate]] = []
    faults: list[Fault] = []
    for place in conditions:
        steps = steps_of(config, place)
        if steps[0] in kept:
            continue
        compile_part = compile_rule if place.startswith(RULE) else compile_condition
        template, wrong = compile_part(at(config, steps), where + pointer(*steps), names)
        rest = replaced(rest, steps, None)
        compiled.append((steps, template))
        faults += wrong
    template, wrong = compile_template(rest, where, names)
    return ConfigTemplate(template, compiled, kept) if compiled or kept else template, [*wrong, *faults]


def steps_of(config: Any, place: str) -> Steps:
    """The steps that a pointer takes in a config."""
    steps: list[str | int] = []
    for text in place.removeprefix(RULE).split("/")[1:]:
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
