"""Expressions written to do harm: each is refused with typed faults, or fails with a `TaskError` within its budget."""

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import limits
from engine.errors import TaskError
from engine.expressions.scope import new_budget
from engine.expressions.templates import compile_condition, compile_logic, compile_template
from engine.states import TaskStatus
from tests.hostile.grammar import GRAMMAR
from tests.hostile.logic import LOGIC, MANY
from tests.unit.engine.test_documents import VALUES

BIG = "x" * 500_000
INPUT = {
    "n": 2,
    "text": "abc",
    "list": [1, 2, 3],
    "object": {"a": 1},
    "big": BIG,
    "same": BIG[:-1] + "y",
    "many": list(range(40_000)),
    "texts": ["y" * 100] * 4_000,
    "digits": "9" * 400_000,
    "spaces": " " * 500_000,
    "deep": [],
}


def scope(value: Any = INPUT) -> Any:
    done = SimpleNamespace(output={"y": [1]}, status=TaskStatus.COMPLETED, error=None)
    return SimpleNamespace(execution_id=1, input=value, tasks={"a": done}, now=1.0)


@pytest.mark.parametrize("text", GRAMMAR, ids=lambda text: ascii(text[:40]))
def test_hostile_grammar(text: str) -> None:
    for compiled in (compile_template({"x": "{{" + text + "}}"}, "/t"), compile_condition("{{" + text + "}}", "/t")):
        refused(*compiled)


@pytest.mark.parametrize("rule", LOGIC, ids=map(str, range(len(LOGIC))))
def test_hostile_jsonlogic(rule: Any) -> None:
    refused(*compile_logic(rule, "/t"))


def refused(template: Any, faults: Any) -> None:
    if faults:
        assert all(fault.pointer.startswith("/t") and len(fault.message) < 1_000 for fault in faults)
        return
    with pytest.raises(TaskError) as caught:
        template.render(scope())
    assert not caught.value.retryable
    assert len(str(caught.value)) < 1_000


def test_there_are_enough() -> None:
    assert len(GRAMMAR) >= 100
    assert len(LOGIC) >= 80


@pytest.mark.parametrize(
    "path",
    [
        *["__class__", "text.__class__", "text.upper", "text.length", "list.length", "list.append", "object.keys"],
        *["n.real", "constructor", "__proto__.x", "list.-1", "list.0x1", "list.1_0", "list.\u0661", "list.99999999999"],
        *["object.__dict__", "tasks_", "input.__class__", "input.text.format", "a.b" * 20],
    ],
)
def test_no_path_of_jsonlogic_reaches_an_attribute(path: str) -> None:
    for rule in ({"var": path}, {"var": {"cat": [path]}}):
        template, faults = compile_logic(rule)
        assert faults == []
        assert template.render(scope()) is None


def test_what_is_within_the_budget_is_done() -> None:
    rule = {"filter": [MANY, {"and": [{">": [{"var": ""}, 10]}, {"<": [{"var": ""}, 39_000]}]}]}
    wide = {"input": {"many": list(range(20_000))}}["input"]
    assert len(compile_logic(rule)[0].render(scope(wide))) == 20_000 - 11
    assert compile_template("{{concat(input.big, input.big)}}")[0].render(scope()) == BIG * 2
    assert compile_template("{{json(input.many)}}")[0].render(scope()).startswith("[0,1,2")


def test_a_rendering_has_one_budget() -> None:
    one = "{{json(input.many) == ''}}"
    assert compile_template([one])[0].render(scope()) == [False]
    with pytest.raises(TaskError, match=f"more than {limits.STEPS} steps"):
        compile_template([one] * 40)[0].render(scope())


def test_a_comparison_does_not_copy() -> None:
    budget = new_budget()
    template, _ = compile_condition("{{input}} == {{input.many}} or {{input.big}} == 'x'")
    template._render(scope(), budget)
    assert budget == new_budget()


WORDS = "{{ }} ( ) [ ] input .x input.n input.many a.output and or not in - + * / % == < ' \" \\ 1 9e99 , = | é"
ALPHABET = st.sampled_from([*WORDS.split(), "len(", "json(", "concat(", "if(", " - ", " ", "\n"])


@given(st.lists(ALPHABET, max_size=30).map("".join))
@settings(max_examples=500, deadline=None)
@example("{{'}}{{\"" * 8_000)
@example("{{)'}}{{)\"}}" * 5_000)
@example("{{ ' " + '}} {{ " ' * 8_000)
@example("{{" * 30_000 + "}}" * 2)
@example("{{§}}" * 10_000)
@example("{{'a}}" * 10_000 + "§")
def test_any_text_is_compiled_or_refused(text: str) -> None:
    for compiled, faults in (compile_template(text, "/x"), compile_condition(text, "/x")):
        assert all(fault.pointer == "/x" and len(fault.message) < 1_000 for fault in faults)
        if not faults:
            answered(compiled)


OPERATORS = st.sampled_from(
    ["var", "missing", "map", "reduce", "filter", "all", "+", "==", "<", "cat", "substr", "in", "merge"]
)


@given(
    st.recursive(
        VALUES
        | st.builds(lambda path: {"var": path}, st.sampled_from(["", "n", "many", "text", "input.list", "current"])),
        lambda inner: st.builds(lambda name, args: {name: args}, OPERATORS, st.lists(inner, max_size=3)),
        max_leaves=15,
    )
)
@settings(max_examples=500, deadline=None)
def test_any_json_is_a_rule_or_refused(rule: Any) -> None:
    compiled, faults = compile_logic(rule, "/x")
    assert all(fault.pointer.startswith("/x") for fault in faults)
    if not faults:
        answered(compiled)


def answered(compiled: Any) -> None:
    with suppress(TaskError):
        compiled.render(scope())
