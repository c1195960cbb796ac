"""What expressions cost: a path and a comparison beside a large context, a typical config, 1,000 tasks compiled."""

import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from benchmarks.measure import Bench, Benchmark, Case, Goal
from engine import checks, graph, registry
from engine.catalog import Catalog
from engine.dialect_ports import Definition
from engine.expressions.templates import Template, compile_condition, compile_logic, compile_template
from engine.model import Edge, Graph, Presentation, Task

CONFIG = {
    "method": "POST",
    "url": "https://api.example.com/orders/{{input.order.id}}/items",
    "headers": {"Content-Type": "application/json", "X-Execution": "{{execution.id}}"},
    "query": {"page": 1, "kind": "{{input.order.kind}}"},
    "body": {
        "customer": {"name": "{{input.order.customer.name}}", "id": "{{input.order.customer.id}}"},
        "total": "{{input.order.total}}",
        "note": "{{tasks.classify.output.category}} for {{input.order.customer.name}}",
    },
    "timeout": 30,
}


async def cases(bench: Bench) -> AsyncIterator[Case]:
    rounds = bench.scale(20_000, 5_000, 10)
    small, large = _scope(10), _scope(20_000)
    for name, template in _templates().items():
        at_most = 10.0 if name == "an HTTP config" else 1.0
        yield Case(
            f"{name}, context of 1 MB",
            "µs of CPU",
            partial(_render, template, large, rounds),
            {"context of 1 kB": partial(_render, template, small, rounds)},
            Goal("at most", at_most),
        )
    definition = _workflow(bench.scale(1_000, 1_000, 10))
    nodes = Catalog(registry.scan("nodes", "handler"), ())
    yield Case(
        "check and compile 1,000 tasks", "ms of CPU", partial(_compile, definition, nodes), goal=Goal("at most", 50.0)
    )


def _templates() -> dict[str, Template]:
    made = {
        "a path": compile_template("{{input.order.customer.name}}"),
        "a comparison": compile_condition("{{input.order.total}} > 100"),
        "a comparison in JSONLogic": compile_logic({"==": [{"var": "order.kind"}, "gold"]}),
        "an HTTP config": compile_template(CONFIG),
    }
    assert not any(faults for _, faults in made.values())
    return {name: template for name, (template, _) in made.items()}


def _scope(padding: int) -> Any:
    order = {"id": 7, "kind": "gold", "total": 250.5, "customer": {"name": "Ada", "id": 12}}
    value = {"order": order, "rest": {str(i): "x" * 40 for i in range(padding)}}
    done = SimpleNamespace(output={"category": "technical"}, status=None, error=None)
    return SimpleNamespace(execution_id=1, input=value, tasks={"classify": done}, now=0.0)


async def _render(template: Template, scope: Any, rounds: int) -> float:
    def work() -> None:
        for _ in range(rounds):
            template.render(scope)

    return _timed(work) / rounds * 1e6


async def _compile(definition: Definition, nodes: Catalog) -> float:
    def work() -> None:
        assert checks.check(definition, nodes) == []
        graph.compile_definition(definition)

    return _timed(work) * 1e3


def _timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _workflow(tasks: int) -> Definition:
    """A chain of HTTP tasks, each with templates that name the one before; every fourth has a condition."""
    keys = [f"task-{i}" for i in range(tasks)]
    made = [Task(keys[0], "http_request", {"url": "https://api.example.com/{{input.order.id}}"})]
    for before, key in pairwise(keys):
        body = {
            "order": "{{input.order.id}}",
            "note": f"{key} of {{{{input.name}}}}",
            "last": f"{{{{{before}.output.id}}}}",
        }
        config = {"url": "https://api.example.com/{{input.order.id}}", "method": "POST", "body": body}
        when = f"{{{{{before}.output.status}}}} == 200" if len(made) % 4 == 0 else True
        made.append(Task(key, "http_request", config, when))
    edges = tuple(Edge(before, key) for before, key in pairwise(keys))
    places = {key: f"/tasks/{i}" for i, key in enumerate(keys)}
    return Definition(Graph(tuple(made), edges), Presentation(), places)


benchmark = Benchmark("expressions", "templates, conditions, JSONLogic", cases)
