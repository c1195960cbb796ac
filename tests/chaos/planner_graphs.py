"""Random workflows for the planner's model: small, and dense in what can go wrong."""

import random

from engine.graph import END, ERROR_LABEL
from engine.model import Compensation, Edge, Graph, RetryPolicy, Task

LABELS = (None, None, None, "yes", "no")
"""Of edges; outcomes choose among these too."""
SIGNALS = ("go", "stop")


def random_input(rnd: random.Random) -> dict[str, object]:
    """What `when` and the configs refer to; sometimes it lacks a part."""
    value: dict[str, object] = {"flag": rnd.random() < 0.7, "n": rnd.randrange(5)}
    if rnd.random() < 0.9:
        value["deep"] = {"list": [1, {"x": rnd.randrange(3)}]}
    return value


def random_graph(rnd: random.Random) -> Graph:
    """Up to eight tasks; edges go forward only, a few to nothing or to what does not exist."""
    keys = [f"t{i}" for i in range(rnd.choice((0, 1, 2, 3, 4, 5, 6, 8)))]
    edges: dict[Edge, None] = {}
    density = rnd.random()
    for place, source in enumerate(keys):
        for target in keys[place + 1 :]:
            if rnd.random() < density * 0.7:
                edges[Edge(source, target, rnd.choice(LABELS))] = None
        if rnd.random() < 0.06:
            edges[Edge(source, rnd.choice((END, "nowhere")), rnd.choice(("yes", "no", None)))] = None
    tasks = []
    for place, key in enumerate(keys):
        on_error = _on_error(rnd, keys[place + 1 :])
        if on_error in keys:
            edges[Edge(key, on_error, ERROR_LABEL)] = None
        before = [edge.source for edge in edges if edge.target == key]
        tasks.append(_task(rnd, key, on_error, before))
    return Graph(tuple(tasks), tuple(edges), timeout=rnd.choice((*[None] * 5, 3.0, 12.0, 40.0)))


def _on_error(rnd: random.Random, later: list[str]) -> str:
    if later and rnd.random() < 0.15:
        return rnd.choice(later)
    return rnd.choice(("fail", "continue"))


def _task(rnd: random.Random, key: str, on_error: str, before: list[str]) -> Task:
    kind, config = _work(rnd, before)
    return Task(
        key,
        kind,
        config=config,
        when=_when(rnd, before),
        retry=_retry(rnd),
        timeout=rnd.choice((None, None, 4.0)),
        on_error=on_error,
        total_timeout=rnd.choice((None, None, None, 2.0, 7.0, 20.0)),
        compensate=_compensation(rnd, key, before) if rnd.random() < 0.4 else None,
    )


def _compensation(rnd: random.Random, key: str, before: list[str]) -> Compensation:
    config = _config(rnd, [*before, key])
    if rnd.random() < 0.4:
        config["why"] = _template(rnd.choice(("error.type", "error.message", "error.task")))
    return Compensation("noop", config, _retry(rnd))


def _retry(rnd: random.Random) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=rnd.choice((1, 1, 2, 4)),
        initial_interval=rnd.choice((0.0, 0.5, 3.0)),
        backoff_coefficient=rnd.choice((1.0, 2.0)),
        maximum_interval=4.0,
        jitter=rnd.choice((0.0, 0.5)),
        non_retryable=("fatal",),
    )


def _work(rnd: random.Random, before: list[str], depth: int = 0) -> tuple[str, dict[str, object]]:
    """A type and its config; one in six runs another task many times."""
    chance = rnd.random()
    if chance >= (0.16, 0.3, 0.0)[depth]:
        return "noop", _config(rnd, before)
    kind, inner = _work(rnd, before, depth + 1)
    names = {"item": "{{item}}", "n": "{{index}}"} if chance < 0.1 else {"round": "{{round}}", "before": "{{last}}"}
    body: dict[str, object] = {"type": kind, "config": inner | (names if kind == "noop" else {})}
    body["retry"] = {"max_attempts": rnd.choice((1, 2)), "initial_interval": rnd.choice((0.0, 2.0))}
    if chance < 0.1:
        items: object = [{"v": number} for number in range(rnd.choice((0, 1, 2, 3, 20)))]
        return "map", {"items": "{{input.deep.list}}" if rnd.random() < 0.3 else items, "task": body}
    guard = rnd.choice(({"until": "{{last.v}}"}, {"until": "{{input.flag}}"}, {"while": "{{input.n}}"}))
    return "loop", {"task": body, "max_rounds": rnd.choice((1, 3)), **guard}


def _when(rnd: random.Random, before: list[str]) -> bool | str:
    chance = rnd.random()
    if chance < 0.75:
        return True
    if chance < 0.8:
        return False
    if before and chance < 0.9:
        return _template(f"tasks.{rnd.choice(before)}.output.v")
    return rnd.choice(("{{input.flag}}", "{{input.n}}", "{{input.deep.list[1].x}}"))


def _config(rnd: random.Random, before: list[str]) -> dict[str, object]:
    config: dict[str, object] = {"plain": [1, {"two": 2}]}
    if rnd.random() < 0.4:
        config["n"] = "{{input.n}}"
    if rnd.random() < 0.2:
        config["x"] = "{{input.deep.list[1].x}}"
    if before and rnd.random() < 0.3:
        config["from"] = _template(f"tasks.{rnd.choice(before)}.output")
    if before and rnd.random() < 0.1:
        config["v"] = _template(f"tasks.{rnd.choice(before)}.output.v")
    return config


def _template(path: str) -> str:
    return "{{" + path + "}}"
