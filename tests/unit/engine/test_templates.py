"""Templates and paths: what they render to, what they may not name, and what they cost."""

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import limits
from engine.errors import Invalid, TaskError
from engine.expressions.paths import MAX_SEGMENTS, parse_path
from engine.expressions.templates import compile_template, has_template
from engine.expressions.tree import pointer_of
from engine.model import Failure
from engine.states import TaskStatus
from tests.unit.engine.test_documents import VALUES

INPUT = {
    "n": 7,
    "f": 1.5,
    "yes": True,
    "none": None,
    "text": "hé",
    "class": "keyword",
    "net-price": 3,
    "a b": {'c"d': 4},
    "list": [1, [2, {"x": [3]}]],
    "0": "zero",
    "$id": 9,
    "_": {"": "empty"},
}


def scope(**tasks: Any) -> Any:
    done = SimpleNamespace(output={"y": [1]}, status=TaskStatus.COMPLETED, error=None)
    broke = SimpleNamespace(output=None, status=TaskStatus.FAILED, error=Failure("boom", "it broke", "b-1"))
    return SimpleNamespace(execution_id=12, input=INPUT, tasks={"a": done, "b-1": broke, **tasks})


def render(value: Any, given_scope: Any = None) -> Any:
    template, faults = compile_template(value)
    assert faults == []
    return template.render(given_scope or scope())


def faults(value: Any) -> list[tuple[str, str]]:
    return [(fault.code, fault.pointer) for fault in compile_template(value, "/tasks/0")[1]]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("input.n", 7),
        (" input.n ", 7),
        ("\tinput.f\n", 1.5),
        ("input.yes", True),
        ("input.none", None),
        ("input.class", "keyword"),
        ("input.net-price", 3),
        ('input["a b"][\'c"d\']', 4),
        ("input.list[1][1].x[0]", 3),
        ("input.list.1.1.x.0", 3),
        ('input["list"][0]', 1),
        ("input.0", "zero"),
        ("input[0]", "zero"),
        ("input.$id", 9),
        ('input._[""]', "empty"),
        ("input", INPUT),
        ("payload.n", 7),
        ("data.n", 7),
        ("parameters.n", 7),
        ("tasks.a.output", {"y": [1]}),
        ("tasks.a.output.y[0]", 1),
        ("tasks.a.status", "completed"),
        ("tasks.a.error", None),
        ("tasks.b-1.error.message", "it broke"),
        ("tasks['b-1'].error.type", "boom"),
        ("tasks.never.output", None),
        ("execution.id", 12),
    ],
)
def test_one_template_keeps_its_type(path: str, value: Any) -> None:
    rendered = render("{{" + path + "}}")
    assert rendered == value
    assert type(rendered) is type(value)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{{input.n}}!", "7!"),
        (" {{input.n}}", " 7"),
        ("{{input.n}}{{input.n}}", "77"),
        ("{{input.text}} {{input.yes}} {{input.none}} {{input.f}}", "hé true null 1.5"),
        ("{{input.list}}.", '[1,[2,{"x":[3]}]].'),
        ("a } b }} c", "a } b }} c"),
        ("{ {input.n} }", "{ {input.n} }"),
        ("{{input.n}}}", "7}"),
    ],
)
def test_pieces_are_joined_as_text(text: str, rendered: str) -> None:
    assert render(text) == rendered


def test_every_level_is_rendered_and_keys_are_not() -> None:
    value = {"{{input.n}}": [["{{input.n}}", {"deep": "x{{input.n}}"}], 1, None, True, 2.5]}
    assert render(value) == {"{{input.n}}": [[7, {"deep": "x7"}], 1, None, True, 2.5]}


@pytest.mark.parametrize(
    "path",
    [
        "input.nothing",
        "input.n.x",
        "input.none.x",
        "input.list[2]",
        "input.list.x",
        "input.list.-1",
        'input["list"]["1x"]',
        "input.text[0]",
        "tasks.a.output.z",
        "tasks.a.error.message",
        "tasks.never.output.y",
        "input.__class__",
        "input.keys",
        "tasks.a.output.y.append",
    ],
)
def test_what_is_not_there_is_a_final_failure(path: str) -> None:
    template, bad = compile_template("{{" + path + "}}")
    assert bad == []
    with pytest.raises(TaskError, match="no value at") as caught:
        template.render(scope())
    assert (caught.value.type, caught.value.retryable) == ("template", False)


@pytest.mark.parametrize(
    "path",
    [
        "",
        " ",
        ".",
        "input.",
        "input..n",
        ".input",
        "input[-1]",
        "input[x]",
        "input[0",
        'input["x]',
        "input n",
        "input.n | upper",
        "input.n()",
        "input.né",
        "{{input.n",
        "input.x\0",
        "input[99999999999]",
        "." * 70_000,
        "input" + ".x" * MAX_SEGMENTS,
    ],
)
def test_what_is_no_path_is_refused_with_its_place(path: str) -> None:
    assert [where for _, where in faults({"x": ["", "{{" + path + "}}"]})] == ["/tasks/0/x/1"]
    with pytest.raises(Invalid):
        parse_path(path)


@pytest.mark.parametrize(
    "path",
    ["env.HOME", "inputs.x", "tasks", "tasks.a", "tasks.a.config", "tasks[0].output", "execution", "execution.x"],
)
def test_an_unknown_root_is_refused_with_the_known_ones(path: str) -> None:
    _, bad = compile_template("{{" + path + "}}", "/here")
    assert [(fault.code, fault.pointer) for fault in bad] == [("template_unknown_path", "/here")]
    assert "tasks.<key>.output" in bad[0].message


@pytest.mark.parametrize("text", ["{{", "a {{input.n", "{{input.n}} {{", "{{input.n} }"])
def test_a_template_must_end(text: str) -> None:
    assert ("template", "/tasks/0") in faults(text)


def test_references_are_the_tasks_with_their_first_place() -> None:
    template, _ = compile_template(
        {"p": "{{tasks.a.output}} {{tasks.b.status}}", "q": ["{{tasks.a.output.x}}", "{{input.tasks.c.output}}"]}, "/c"
    )
    assert {key: pointer_of(place) for key, place in template.references.items()} == {"a": "/c/p", "b": "/c/p"}
    assert not template.constant
    assert compile_template({"x": [1, "plain"]})[0].constant


@pytest.mark.parametrize(("value", "has"), [("{{x", True), ([{"a": ["{{"]}], True), ({"{{": 1}, False), (1, False)])
def test_what_has_a_template(value: Any, has: bool) -> None:
    assert has_template(value) is has


# --- nothing is shared, everything is bounded ---


@given(VALUES)
@settings(max_examples=50)
def test_what_has_no_template_renders_to_itself(value: Any) -> None:
    assert has_template(value) or render(value) == value


def containers(value: Any) -> set[int]:
    if isinstance(value, dict):
        return {id(value)}.union(*(containers(child) for child in value.values()))
    return {id(value)}.union(*(containers(child) for child in value)) if isinstance(value, list) else set()


def test_nothing_rendered_is_shared() -> None:
    config = {"all": "{{input}}", "part": ["{{input.list}}", "{{tasks.a.output}}"], "own": {"x": [1]}}
    template, _ = compile_template(config)
    here = scope()
    one, two = template.render(here), template.render(here)
    assert one == two
    sources = containers(config) | containers(INPUT) | containers(here.tasks["a"].output)
    assert not containers(one) & containers(two)
    assert not containers(one) & sources


@pytest.mark.parametrize(
    "config",
    [
        ["{{input.big}}"] * 3,
        "{{input.big}}{{input.big}}{{input.big}}",
        ["{{input.many}}"] * 1_000,
        {str(i): "{{input.big}}!" for i in range(1_000)},
        "{{input.many}}" * 400,
        "{{input.digits}}{{input.digits}}",
    ],
    ids=["values", "text", "many containers", "many texts", "containers as text", "numbers as text"],
)
def test_a_small_template_cannot_multiply_a_large_value(config: Any) -> None:
    value = {"big": "x" * 500_000, "many": [[0]] * 50_000, "digits": [1 / 3] * 40_000}
    template, bad = compile_template(config)
    assert bad == []
    with pytest.raises(TaskError, match=r"more than (1048576 bytes|250000 steps)") as caught:
        template.render(SimpleNamespace(execution_id=1, input=value, tasks={}))
    assert not caught.value.retryable


def test_what_fits_is_rendered() -> None:
    value = {"big": "x" * (limits.PAYLOAD - 10), "ints": [1] * 500_000}
    here = SimpleNamespace(execution_id=1, input=value, tasks={})
    assert render("{{input.big}}", here) == value["big"]
    assert render({"a": "{{input.ints}}"}, here) == {"a": value["ints"]}
    assert render("<{{input.big}}>", here) == f"<{value['big']}>"


def test_a_template_string_is_bounded() -> None:
    assert faults("{{input.n}}" + "x" * limits.TEMPLATE) == [("template", "/tasks/0")]


HOSTILE = st.text(alphabet="{}[]\"'.ainput0 -_$\\\0é", max_size=60) | st.lists(
    st.sampled_from(["{{", "}}", "{", "}", "input", "tasks.a.output", ".x", "[0]", '["', '"]', " "]), max_size=20
).map("".join)


@given(HOSTILE)
@settings(max_examples=200)
@example("{{" * 32_000)
@example("{{}}" * 16_000)
@example("{{" + "." * 65_000 + "}}")
@example("{{input" + '["x' * 20_000 + "}}")
@example("{{input" + "[0]" * 20_000 + "}}")
@example("{{" + " " * 65_000 + "}}")
def test_any_string_is_compiled_or_refused_at_once(text: str) -> None:
    template, bad = compile_template(text, "/x")
    assert all(fault.pointer == "/x" and len(fault.message) < 1_000 for fault in bad)
    if not bad:
        with suppress(TaskError):
            template.render(scope())
