"""The one check of meaning, the digest, and the compiled form."""

import random
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.checks import check
from engine.dialect_ports import Definition
from engine.errors import Fault
from engine.graph import ERROR_LABEL, CompiledGraph, canonical, compile_definition, find_cycle, load, suggestion
from engine.model import Edge, Graph, Presentation, RetryPolicy, Task
from tests.chaos.planner_graphs import random_graph


class Nodes:
    """Two types and two executors; a config must not hold `bad`."""

    def config_faults(self, type: str, config: Mapping[str, Any], pointer: str) -> list[Fault]:  # noqa: A002
        return [Fault("no bad", f"{pointer}/bad", "invalid_config")] if "bad" in config else []

    def names(self) -> Iterable[str]:
        return ("noop", "http_request")

    def resolve(self, type: str) -> str | None:  # noqa: A002
        return type if type in self.names() else None

    def canonical(self, type: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:  # noqa: A002
        return type, dict(config)

    def conditions(self, type: str, config: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: A002
        return ("/test",) if "test" in config else ()

    def public(self, type: str, config: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: A002
        return config

    def executors(self) -> Iterable[str]:
        return ("asyncio",)


def definition(tasks: Iterable[Task], edges: Iterable[Edge] = (), **changes: Any) -> Definition:
    graph = Graph(tuple(tasks), tuple(edges))
    pointers = {task.key: f"/tasks/{place}" for place, task in enumerate(graph.tasks)}
    return Definition(graph, Presentation(), pointers, **changes)


def faults(*tasks: Task, edges: Iterable[Edge] = ()) -> list[tuple[str, str]]:
    found = check(definition(tasks, edges), Nodes())
    return [(fault.code, fault.pointer) for fault in found]


def message(*tasks: Task, edges: Iterable[Edge] = ()) -> str:
    return check(definition(tasks, edges), Nodes())[0].message


A, B, C = Task("a"), Task("b"), Task("c")


def test_what_can_be_executed_has_no_faults() -> None:
    b = Task("b", config={"x": "{{tasks.a.output}}"}, when="{{tasks.a.output.ok}}", executor="asyncio", timeout=1.5)
    assert faults() == []
    assert faults(A, b, C, edges=[Edge("a", "b"), Edge("b", "c", "yes"), Edge("b", "c")]) == []


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        (Task("a", "htpp_request"), ("unknown_node_type", "/tasks/0/type")),
        (Task("a", config={"bad": 1}), ("invalid_config", "/tasks/0/config/bad")),
        (Task("a", config={"x": ["{{nope.x}}"]}), ("template_unknown_path", "/tasks/0/config/x/0")),
        (Task("a", config={"x": "{{input.x"}), ("template", "/tasks/0/config/x")),
        (Task("a", executor="rqq"), ("unknown_executor", "/tasks/0/executor")),
        (Task("a", timeout=0), ("out_of_range", "/tasks/0/timeout")),
        (Task("a", timeout=float("nan")), ("out_of_range", "/tasks/0/timeout")),
        (Task("a", timeout=1e12), ("out_of_range", "/tasks/0/timeout")),
        (Task("a", when="yes"), ("invalid_condition", "/tasks/0/when")),
        (Task("a", when={"nope": []}), ("jsonlogic", "/tasks/0/when/nope")),
        (Task("a", when={"var": "tasks.b.output"}), ("template_not_ancestor", "/tasks/0/when/var")),
        (Task("a", when="b.output.x > 1"), ("template_not_ancestor", "/tasks/0/when")),
        (Task("a", config={"x": "{{zzz.output}}"}), ("template_unknown_task", "/tasks/0/config/x")),
        (Task("a", config={"x": "{{secrets.key}}"}), ("template_secret", "/tasks/0/config/x")),
        (Task("a", when="{{nope}}"), ("template_unknown_path", "/tasks/0/when")),
        (Task("a", on_error="z"), ("unknown_task", "/tasks/0/on_error")),
        (Task("a", config={"x": "{{tasks.z.output}}"}), ("template_unknown_task", "/tasks/0/config/x")),
        (Task("a", config={"x": "{{tasks.b.output}}"}), ("template_not_ancestor", "/tasks/0/config/x")),
        (Task("a", config={"x": "{{tasks.a.output}}"}), ("template_not_ancestor", "/tasks/0/config/x")),
        (Task("a", when="{{tasks.b.output}}"), ("template_not_ancestor", "/tasks/0/when")),
    ],
)
def test_each_fault_has_its_code_and_place(task: Task, fault: tuple[str, str]) -> None:
    assert faults(task, B) == [fault]


def test_the_expressions_of_a_workflow_are_bounded() -> None:
    config = {"x": ["{{" + "1 + " * 4_000 + "1}}"] * 5}
    assert faults(*(Task(key, config=config) for key in "abcd")) == []
    assert faults(*(Task(key, config=config) for key in "abcdefg")) == [("too_large", "/tasks/4")]
    found = faults(Task("a", config={"x": ["{{x(1)}}"] * 60_000}))
    assert found[-1] == ("too_large", "/tasks/0")


def test_all_faults_are_told_at_once() -> None:
    found = faults(Task("a", "x", timeout=-1), Task("b", executor="y"), edges=[Edge("a", "b")])
    assert {code for code, _ in found} == {"unknown_node_type", "out_of_range", "unknown_executor"}


def test_messages_say_what_to_do() -> None:
    assert "did you mean 'http_request'?" in message(Task("a", "htpp_request"))
    assert "there are: http_request, noop" in message(Task("a", "zzz"))
    assert "add depends_on: ['b']" in message(Task("a", config={"x": "{{tasks.b.output}}"}), B)
    assert "did you mean 'fetch'?" in message(Task("a", config={"x": "{{tasks.fetsh.output}}"}), Task("fetch"))


def test_an_ancestor_may_be_far_and_behind_an_error() -> None:
    last = Task("c", config={"x": "{{tasks.a.error.message}}"})
    assert faults(A, B, last, edges=[Edge("a", "b", ERROR_LABEL), Edge("b", "c", "yes")]) == []
    assert faults(A, B, last, edges=[Edge("a", "b"), Edge("c", "b")]) == [
        ("template_not_ancestor", "/tasks/2/config/x")
    ]


def test_keys_are_unique_and_edges_lead_somewhere() -> None:
    assert faults(A, A, B) == [("duplicate_key", "/tasks/1")]
    assert faults(A, edges=[Edge("a", "z"), Edge("y", "a")]) == [("unknown_task", "")]


@pytest.mark.parametrize(
    ("edges", "cycle"),
    [
        (["aa"], ["a", "a"]),
        (["ab", "ba"], ["a", "b", "a"]),
        (["ab", "bc", "ca", "cd", "de"], ["a", "b", "c", "a"]),
        (["ab", "bc", "cb", "cd"], ["b", "c", "b"]),
    ],
)
def test_a_cycle_is_named_in_the_direction_of_its_edges(edges: list[str], cycle: list[str]) -> None:
    tasks = tuple(map(Task, "abcde"))
    graph = Graph(tasks, tuple(Edge(*pair) for pair in edges))
    found = find_cycle(graph)
    assert found[0] == found[-1]
    assert all(pair in edges for pair in map("".join, pairwise(found)))
    assert set(found) == set(cycle)
    assert [code for code, _ in faults(*tasks, edges=graph.edges)] == ["cycle"]
    assert " -> ".join(found) in message(*tasks, edges=graph.edges)


def test_a_cycle_points_where_the_user_wrote_it_and_stays_short() -> None:
    tasks = [Task(f"t{i}") for i in range(10_000)]
    ring = [Edge(f"t{i}", f"t{(i + 1) % 10_000}") for i in range(10_000)]
    (fault,) = check(definition(tasks, ring, edge_field="depends_on"), Nodes())
    assert fault.pointer.endswith("/depends_on")
    assert "9988 more" in fault.message
    assert len(fault.message) < 300


@given(st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_a_graph_that_goes_forward_has_no_cycle_and_one_edge_back_makes_one(rnd: random.Random) -> None:
    graph = random_graph(rnd)
    assert find_cycle(graph) == []
    keys = {task.key for task in graph.tasks}
    inside = [edge for edge in graph.edges if edge.target in keys]
    if inside:
        edge = rnd.choice(inside)
        assert find_cycle(Graph(graph.tasks, (*graph.edges, Edge(edge.target, edge.source))))


def test_many_tasks_are_checked_and_too_many_refused() -> None:
    tasks = [
        A,
        *(Task(f"t{i}", config={"x": f"{{{{tasks.{'a' if i == 0 else f't{i - 1}'}.output}}}}"}) for i in range(9_999)),
    ]
    chain = [Edge(one.key, other.key) for one, other in pairwise(tasks)]
    assert check(definition(tasks, chain), Nodes()) == []
    (fault,) = check(definition([*tasks, C], chain), Nodes())
    assert "at most 10000 tasks" in fault.message


def test_ten_thousand_faults_cost_little() -> None:
    names = [f"task_{i}" for i in range(500)]
    config = {str(i): f"{{{{tasks.tusk_{i}.output}}}}" for i in range(10_000)}
    found = check(definition([Task("a", config=config), *map(Task, names)]), Nodes())
    assert len(found) == 10_000
    assert 0 < sum("did you mean" in fault.message for fault in found) <= 20


def test_a_suggestion_is_a_near_word_or_the_short_list() -> None:
    assert suggestion("fetsh", ["fetch", "store"]) == ", did you mean 'fetch'?"
    assert suggestion("zzz", ["fetch", "store"]) == "; there are: fetch, store"
    assert suggestion("zzz", [str(i) for i in range(30)]) == ""
    assert suggestion("x" * 1_000_000, ["fetch"]) == "; there are: fetch"


# --- the digest ---


def digest(*tasks: Task, edges: Iterable[Edge] = ()) -> str:
    return compile_definition(definition(tasks, edges)).digest


def anew(text: str) -> str:
    """An equal string that is another object, as a database gives it."""
    return "".join(list(text))


def test_equal_meaning_has_an_equal_digest() -> None:
    one = digest(A, B, C, edges=[Edge("a", "b"), Edge("b", "c", "x")])
    assert digest(C, B, A, edges=[Edge("b", "c", "x"), Edge("a", "b"), Edge("a", "b")]) == one
    spelled = Task(anew("a"), anew("noop"), {}, True, RetryPolicy(non_retryable=()), None, None, anew("fail"))
    assert digest(spelled, B, C, edges=[Edge("a", "b", None), Edge("b", "c", "x")]) == one
    assert digest(Task("a", config={"x": 1.0, "y": {"b": 1, "a": 2}}, timeout=30)) == digest(
        Task("a", config={"y": {"a": 2, "b": 1.0}, "x": 1}, timeout=30.0)
    )


def test_names_and_order_on_the_page_are_outside() -> None:
    graph = Graph((A, B))
    pages = [Presentation(), Presentation({"a": "First"}, ("b", "a"))]
    one, other = (compile_definition(Definition(graph, page)) for page in pages)
    assert one.digest == other.digest
    assert one.presentation != other.presentation


DIFFERENT = [
    Task("a2"),
    Task("a", "set"),
    Task("a", config={"x": 1}),
    Task("a", config={"x": "1"}),
    Task("a", config={"x": True}),
    Task("a", config={"x": None}),
    Task("a", when=False),
    Task("a", when="{{input.x}}"),
    Task("a", retry=RetryPolicy(max_attempts=2)),
    Task("a", retry=RetryPolicy(non_retryable=("x",))),
    Task("a", timeout=1),
    Task("a", executor="asyncio"),
    Task("a", on_error="continue"),
]


def test_different_meaning_has_a_different_digest() -> None:
    edges = [
        [],
        [Edge("a", "b")],
        [Edge("b", "a")],
        [Edge("a", "b", "")],
        [Edge("a", "b", "x")],
        [Edge("a", "b", ERROR_LABEL)],
    ]
    digests = [digest(A), *map(digest, DIFFERENT), *(digest(A, B, edges=some) for some in edges)]
    assert len(set(digests)) == len(digests)


@given(st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_a_stored_graph_is_the_same_graph(rnd: random.Random) -> None:
    graph = random_graph(rnd)
    compiled = compile_definition(Definition(graph, Presentation()))
    again = load(compiled.graph, compiled.presentation)
    tasks, edges = rnd.sample(graph.tasks, len(graph.tasks)), rnd.sample(graph.edges, len(graph.edges))
    mixed = msgspec.structs.replace(graph, tasks=tuple(tasks), edges=tuple(edges))
    assert canonical(mixed) == compiled.graph
    assert {v.key: v.task for v in again.vertices} == {task.key: task for task in graph.tasks}
    assert canonical(msgspec.structs.replace(graph, tasks=tuple(v.task for v in again.vertices))) == compiled.graph


# --- the compiled form ---


def test_an_edge_to_no_task_counts_for_its_source_alone() -> None:
    edges = (Edge("a", "nowhere", "x"), Edge("a", "", "y"), Edge("a", "b", "z"), Edge("b", "gone"))
    compiled = load(*stored_bytes(Graph((A, B), edges)))
    a, b = compiled.vertices
    assert (sorted(a.labels), a.missing, [target for _, target in a.out]) == (["x", "y", "z"], {"x": "nowhere"}, [1])
    assert (sorted(b.labels), b.missing, b.out) == ([], {None: "gone"}, ())
    assert (compiled.indegree, compiled.roots, compiled.sinks) == ([0, 1], (0,), ("b",))


def stored_bytes(graph: Graph) -> tuple[bytes, bytes]:
    compiled = compile_definition(Definition(graph, Presentation()))
    return compiled.graph, compiled.presentation


def test_what_a_completion_touches_is_its_neighbours() -> None:
    graph = Graph((A, B, C), (Edge("a", "b", "x"), Edge("a", "c"), Edge("b", "c", ERROR_LABEL)))
    compiled = CompiledGraph(graph, Presentation(order=("c", "a", "b")))
    assert compiled.indegree == [0, 1, 2]
    assert compiled.roots == (0,)
    assert set(compiled.by_key["a"].out) == {("x", 1), (None, 2)}
    assert compiled.display_order == ("c", "a", "b")
    assert compiled.sinks == ("c", "b")
