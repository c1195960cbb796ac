"""Where a branch may lead, read out of its config: the config keeps the labels, the edges carry them."""

from typing import Any, NamedTuple

from engine.documents import pointer
from engine.graph import BRANCH, CONDITIONAL, END

ELSE = "else"


class Way(NamedTuple):
    """One outcome of a branch; `where` is a pointer below its config. `target` None: an edge says where it leads."""

    label: str
    target: str | None
    where: str


def read_ways(kind: str, config: dict[str, Any], *, end: str | None = None) -> tuple[dict[str, Any], list[Way]]:
    """The config without its targets, and the ways; `end` is the target that means none.

    Branch: every case has a `label` (its own, else its target, else `case_<n>` from 1; `else` for the last resort).
    Conditional: the labels are `true` and `false`.
    """
    if kind in BRANCH and isinstance(config.get("cases"), list):
        return _branch(config, end)
    if kind in CONDITIONAL:
        return _conditional(config, end)
    return config, []


def _branch(config: dict[str, Any], end: str | None) -> tuple[dict[str, Any], list[Way]]:
    cases: list[Any] = []
    ways: list[Way] = []
    for index, case in enumerate(config["cases"]):
        if isinstance(case, dict):
            made, way = _case(case, index, end)
            cases.append(made)
            ways.append(way)
        else:
            cases.append(case)
    rest = {name: value for name, value in config.items() if name not in {"cases", ELSE, "default"}}
    for name in (ELSE, "default"):
        if isinstance(last := config.get(name), str):
            cases.append({ELSE: True, "label": ELSE})
            ways.append(Way(ELSE, _target(last, end), pointer(name)))
        elif name in config:
            rest[name] = last
    return {**rest, "cases": cases}, ways


def _case(case: dict[str, Any], index: int, end: str | None) -> tuple[dict[str, Any], Way]:
    where = pointer("cases", index)
    last = case.get(ELSE)
    target = case.get("next")
    if isinstance(last, str) and "next" not in case:
        target, where = last, f"{where}/{ELSE}"
    elif "next" in case:
        where = f"{where}/next"
    label = case.get("label")
    if not isinstance(label, str) or not label:
        label = ELSE if last else target if isinstance(target, str) and target != end else f"case_{index + 1}"
    made = {name: value for name, value in case.items() if name not in {"next", ELSE, "label"}}
    if last:
        made[ELSE] = True
    return {**made, "label": label}, Way(label, _target(target, end) if "next" in case or last else None, where)


def _conditional(config: dict[str, Any], end: str | None) -> tuple[dict[str, Any], list[Way]]:
    ways = [Way(word, None, "") for word in ("true", "false") if not isinstance(config.get(f"{word}_edge"), str)]
    ways += [
        Way(word, _target(config[f"{word}_edge"], end), f"/{word}_edge")
        for word in ("true", "false")
        if isinstance(config.get(f"{word}_edge"), str)
    ]
    rest = {
        name: value
        for name, value in config.items()
        if name not in {"true_edge", "false_edge"} or not isinstance(value, str)
    }
    return rest, ways


def _target(target: Any, end: str | None) -> str | None:
    """None when it names nothing: then an edge may."""
    if not isinstance(target, str) or not target:
        return None
    return END if target == end else target
