"""The same meaning is the same graph, whichever way it was written; what is written is read back."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from definitions.ordered_tasks import dialect as ordered
from engine.dialect_ports import Head
from engine.graph import END, ERROR_LABEL, canonical, compile_definition
from engine.model import Budget, Compensation, Edge, Graph, Presentation, Resources, RetryPolicy, Task
from engine.sources import Source
from engine.yaml_documents import encode_yaml
from tests.unit.definitions.test_ordered_tasks import draft, row
from tests.unit.definitions.words import DIALECTS, digest, inspect

RETRY = {"max_attempts": 3, "initial_interval": 5, "backoff": "fixed"}
CONDITION = {">": [{"var": "total"}, 100]}

STEPS = {
    "start_at": "fetch",
    "steps": {
        "fetch": {"type": "http", "url": "u", "retry": {"max_attempts": 3, "delay_seconds": 5}, "next": "big"},
        "big": {"type": "branch", "cases": [{"label": "yes", "condition": CONDITION, "next": "wait"}], "else": "end"},
        "wait": {"type": "delay", "duration_seconds": 15, "timeout": "1m", "next": "end"},
    },
}
GRAPH = {
    "nodes": [
        {
            "id": "wait",
            "type": "delay",
            "data": {"duration_seconds": 15.0},
            "timeout": 60,
            "position": {"x": 9, "y": 9},
        },
        {"id": "fetch", "type": "http_call", "data": {"url": "u"}, "retry": RETRY},
        {
            "id": "big",
            "type": "branch",
            "config": {"cases": [{"label": "yes", "condition": CONDITION}, {"else": True}]},
        },
    ],
    "edges": [
        {"id": "1", "source": "fetch", "target": "big"},
        {"id": "2", "source": "big", "target": "wait", "sourceHandle": "yes"},
        {"id": "3", "source": "big", "target": None, "label": "else"},
    ],
}
TASKS = """
name: The same in YAML
version: 2.0
tasks:
  - id: fetch
    type: activity
    activity_type: http_request
    config: {url: u}
    retry: {attempts: 3, interval: 5s, multiplier: 1}
  - id: big
    type: branch
    depends_on: [fetch]
    config:
      cases:
        - {label: "yes", condition: {">": [{var: total}, 100]}}
        - {else: true, next: end}
  - id: wait
    name: A different name
    type: pause
    config: {duration_seconds: 15}
    depends_on: [{task: big, label: "yes"}]
    timeout: 60
"""


def test_one_workflow_written_in_three_ways() -> None:
    assert len({digest(STEPS), digest(GRAPH), digest(TASKS)}) == 1


def test_the_page_about_it_says_the_truth() -> None:
    page, _, _ = Path("docs/workflows.md").read_text().partition("## Compensations")
    shown = re.findall(r"```(?:json|yaml)\n(.*?)```", page, re.DOTALL)
    shown = [text for text in shown if "fetch" in text]
    assert len(shown) == 3
    assert len({digest(text) for text in shown}) == 1
    assert [fault for text in shown for fault in inspect(text).warnings] == []


def test_ordered_tasks_too() -> None:
    rows = [row(1, "a", 1, type="http_request", parameters={"url": "u"}), row(2, "b", 2), row(3, "c", 3)]
    chain = {
        "start_at": "a",
        "steps": {
            "a": {"type": "http", "url": "u", "next": "b"},
            "b": {"type": "noop", "next": "c"},
            "c": {"type": "noop"},
        },
    }
    report = inspect(chain)
    assert report.faults == ()
    assert report.digest == compile_definition(ordered.parse(draft(*rows))).digest
    listed = {"tasks": [{"id": "c", "depends_on": ["b"]}, {"id": "a", "type": "http_call", "config": {"url": "u"}}]}
    listed["tasks"].append({"id": "b", "depends_on": "a"})
    assert digest(listed) == report.digest


def test_what_undoes_a_task_means_the_same_everywhere() -> None:
    undo = {"type": "http_call", "config": {"url": "{{a.output.url}}"}, "retry": {"max_attempts": 2}, "timeout": "5s"}
    task = {"type": "noop", "compensate": undo}
    found = {
        digest({"start_at": "a", "steps": {"a": {**task, "next": "end"}}}),
        digest({"nodes": [{"id": "a", **task}], "edges": []}),
        digest({"tasks": [{"id": "a", **task}]}),
    }
    compensate = Compensation("http_request", {"url": "{{a.output.url}}"}, RetryPolicy(2), 5.0)
    rows = draft(row(1, "a", 1, type="noop", compensate=compensate))
    assert found == {compile_definition(ordered.parse(rows)).digest}
    assert digest({"tasks": [{"id": "a"}]}) not in found


@pytest.mark.parametrize("change", ["name", "description", "version", "key"])
def test_what_people_call_it_is_no_meaning(change: str) -> None:
    assert digest({**STEPS, change: "other"}) == digest(STEPS)


@pytest.mark.parametrize(
    "changed",
    [
        {**STEPS, "max_concurrency": 2},
        {**STEPS, "timeout": 60},
        {**STEPS, "budget": {"cost": 2}},
        {**STEPS, "steps": {**STEPS["steps"], "wait": {"type": "delay", "duration_seconds": 16}}},  # type: ignore[dict-item]
        {**GRAPH, "edges": GRAPH["edges"][:2]},
    ],
)
def test_what_it_does_is(changed: Any) -> None:
    assert digest(changed) != digest(STEPS)


# --- round trips ---

KEYS = ["a", "b-1", "C_2", "d", "next", "start"]
LABELS = st.sampled_from([None, None, None, "yes", "no", "on", "1.0", ""]).map(lambda label: label or None)
CONFIGS = st.dictionaries(
    st.sampled_from(["x", "url", "timeout", "name", "label", "on"]),
    st.none()
    | st.integers(-5, 5)
    | st.sampled_from(["{{input.x}}", "off", "12:30", "", "1e5"])
    | st.lists(st.booleans()),
    max_size=3,
)
BUDGETS = st.sampled_from([None, Budget(1.5), Budget(tokens=1000), Budget(1.0, 0, "ask")])
RETRIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 9),
    initial_interval=st.sampled_from([0.0, 0.5, 1.0, 30.0]),
    backoff_coefficient=st.sampled_from([1.0, 2.0, 1.5]),
    non_retryable=st.sampled_from([(), ("x",)]),
)


COMPENSATIONS = st.none() | st.builds(
    Compensation,
    st.sampled_from(["noop", "http_request"]),
    CONFIGS,
    RETRIES,
    st.sampled_from([None, 1.5, 60.0]),
    st.sampled_from([None, "rq"]),
    st.sampled_from([None, 9.0]),
    st.sampled_from([Resources(), Resources(2.0)]),
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Without cycles: edges lead from earlier keys to later ones, to nothing, or to what does not exist."""
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=5))
    tasks = []
    for place, key in enumerate(keys):
        handlers = st.sampled_from(["fail", "continue", *keys[place + 1 :]])
        tasks.append(
            Task(
                key,
                draw(st.sampled_from(["noop", "http_request", "set"])),
                draw(CONFIGS),
                draw(st.booleans() | st.just("{{input.go}}")),
                draw(RETRIES),
                draw(st.sampled_from([None, 1.5, 60.0])),
                draw(st.sampled_from([None, "rq"])),
                draw(handlers),
                resources=draw(st.sampled_from([Resources(), Resources(2.0)])),
                compensate=draw(COMPENSATIONS),
            )
        )
    edges = {Edge(task.key, task.on_error, ERROR_LABEL) for task in tasks if task.on_error in keys}
    for source in range(len(keys)):
        for target in draw(st.sets(st.integers(source + 1, len(keys) + 1), max_size=3)):
            label = draw(LABELS)
            there = keys[target] if target < len(keys) else END if target == len(keys) else "missing"
            if there != END or label is not None:
                edges.add(Edge(keys[source], there, label))
    return Graph(
        tuple(tasks),
        tuple(edges),
        max_concurrency=draw(st.sampled_from([None, 3])),
        timeout=draw(st.sampled_from([None, 9.5])),
        budget=draw(BUDGETS),
    )


@pytest.mark.parametrize("name", DIALECTS)
@given(drawn=graphs(), data=st.data())
@settings(max_examples=80)
def test_what_is_written_is_read_back(name: str, drawn: Graph, data: st.DataObject) -> None:
    """Through JSON and through YAML, with names, order and what the workflow is called."""
    keys = [task.key for task in drawn.tasks]
    order = tuple(data.draw(st.permutations(keys)))
    names = {key: data.draw(st.sampled_from([key, "A name", "12:30", "~"])) for key in keys}
    key = data.draw(st.sampled_from([None, "k"]))
    head = Head("N", key, None, drawn.max_concurrency, drawn.timeout, budget=drawn.budget)
    document = DIALECTS[name].write(head, drawn, Presentation(names, order))
    for text in (json.dumps(document), encode_yaml(document).decode()):
        again, definition = DIALECTS[name].read(inspectable(text))
        assert definition.faults == ()
        assert canonical(definition.graph) == canonical(drawn)
        assert definition.presentation == Presentation(names, order)
        assert again == head


def inspectable(text: str) -> dict[str, Any]:
    """The value of a text that is read without faults."""
    source = Source(text.encode())
    assert source.faults == ()
    return source.value


@given(drawn=graphs())
@settings(max_examples=60)
def test_every_dialect_gives_the_same_digest(drawn: Graph) -> None:
    head = Head(max_concurrency=drawn.max_concurrency, timeout=drawn.timeout, budget=drawn.budget)
    names = Presentation({}, tuple(task.key for task in drawn.tasks))
    texts = [dialect.write(head, drawn, names) for dialect in DIALECTS.values()]
    assert len({inspect(text).digest for text in texts}) == 1
