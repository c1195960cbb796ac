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


def nested(opening: str, inner: str, closing: str, times: int) -> str:
    return opening * times + inner + closing * times


def wrapped(name: str, times: int, inner: Any = 1) -> Any:
    for _ in range(times):
        inner = {name: [inner]}
    return inner


def listed(times: int) -> Any:
    value: Any = []
    for _ in range(times):
        value = [value]
    return value


BODIES = {"current": {"var": "current"}, "acc": {"var": "accumulator"}}
MANY = {"var": "many"}

GRAMMAR = [
    # to reach what is not data
    "input.__class__",
    "input.__class__.__mro__[1].__subclasses__",
    "input.text.__class__",
    "input.text.upper",
    "input.text.join",
    "input.list.append",
    "input.list.__len__",
    "input.object.keys",
    "input.object['__class__']",
    "input.n.real",
    "input['__init__']['__globals__']",
    "tasks.a.output.__class__",
    "tasks.a.output.y.sort",
    "tasks.a.__class__",
    "tasks.a.attempt",
    "tasks.a.status.value",
    "tasks.a.status.__class__",
    "tasks.a",
    "tasks",
    "tasks.__class__.output.x",
    "a.__init__",
    "execution",
    "execution.__class__",
    "execution.graph",
    "execution.id.real",
    "now.__class__",
    "scope.input",
    "self",
    "__import__('os')",
    "__builtins__",
    "builtins.open",
    "open('/etc/passwd')",
    "eval('1')",
    "exec('1')",
    "getattr(input, 'x')",
    "globals()",
    "type(input)",
    "os.environ",
    "os.environ.output",
    "env.HOME",
    "config.items",
    "len.__class__",
    "len",
    "upper.output.x",
    "input.text.format(input)",
    "input.text % input.object",
    "'%s' % input.text",
    "'{0.__class__}'.format(1)",
    "f'{input}'",
    "(1).__class__",
    "[].__class__",
    "''.join(input.list)",
    "lambda: 1",
    "[x for x in input.list]",
    "input.list[0:2]",
    "input.list[-1]",
    "input.list[99999999999]",
    "input.list[input.n]",
    "input := 1",
    "input.n = 1",
    "import os",
    "1; 2",
    "# comment",
    "input /* x */",
    "`id`",
    "$(id)",
    "${input.n}",
    "{% for x in input %}",
    "{{ {{input.n}} }}",
    "input | tojson",
    "input?.n",
    "input.n ? 1 : 2",
    "input.n @ 1",
    "~1",
    "1 << 9999",
    "9 ** 9 ** 9",
    "2^99",
    "9 // 0",
    # secrets
    "secrets",
    "secrets.key == 'x'",
    "json(secrets.key)",
    "default(secrets.key, 1)",
    "'a' in secrets.key",
    "[secrets.key]",
    "if(starts_with(secrets.key, 'a'), 1, 2)",
    "secrets.key.x",
    "secrets['a'].b",
    "input.secrets.key",
    # to be large, deep or long
    "'x' * 999999999",
    "input.big * input.n",
    "input.list * 99999999",
    "[1] * 99999999",
    "1e999",
    "-1e999",
    "1e308 * 1e308",
    "9" * 5_000,
    "1." + "9" * 5_000 + "e9999",
    "99999999999999999999",
    "0x" + "f" * 5_000,
    "number(input.big)",
    "number(input.digits) * 10",
    "concat(input.big, input.big, input.big)",
    "json([input.big, input.big, input.big])",
    "string([" + ", ".join(["input.many"] * 9) + "])",
    "concat(" + ", ".join(["input.texts"] * 200) + ")",
    " and ".join(["input.big in input.same"] * 300) + " or [input.same in input.big] == 1 / 0",
    " or ".join(["contains(input.same, input.big)"] * 300),
    " or ".join(["input.big != input.big"] * 100),
    "upper(input.big) + 1",
    "round(1.5, 999999999)",
    "round(1.5, -5)",
    "substr('abc', 1e308 * 10)",
    nested("(", "1", ")", 20_000),
    nested("[", "1", "]", 20_000),
    nested("[", "", "]", 200),
    nested("(", "1", "", 5_000),
    "-" * 30_000 + "1",
    "not " * 15_000 + "1",
    "!" * 30_000 + "1",
    nested("len(", "1", ")", 10_000),
    "1" + " - 1" * 15_000,
    "1" + " + 1" * 15_000,
    "1" + " == 1" * 10_000,
    "1 < 2" * 1_000,
    "input" + ".x" * 30_000,
    "input" + "[0]" * 20_000,
    "default(" * 9_000,
    "max(" + "1," * 20_000 + "1)",
    "," * 60_000,
    "'" * 59_999,
    '"' + "\\" * 60_000,
    "'" + "\\'" * 30_000,
    " " * 60_000,
    "\0",
    "input.n\0",
    "input.n \u202e 1",
    "\u0131nput.n",
    "\uff11 + \uff11",
    "\ud800",
]

DOUBLING = {"reduce": [MANY, {"cat": [BODIES["acc"], BODIES["acc"]]}, "ab"]}
LOGIC: list[Any] = [
    DOUBLING,
    {"reduce": [MANY, {"merge": [BODIES["acc"], BODIES["acc"]]}, [1]]},
    {"reduce": [MANY, [BODIES["acc"], BODIES["acc"]], 1]},
    {"reduce": [MANY, [BODIES["acc"]], 1]},
    {"cat": {"reduce": [{"var": "texts"}, [BODIES["acc"]], 1]}},
    {"==": [{"reduce": [{"var": "texts"}, [BODIES["acc"]], 1]}, {"reduce": [{"var": "texts"}, [BODIES["acc"]], 1]}]},
    {"cat": {"reduce": [{"var": "texts"}, [BODIES["acc"], BODIES["acc"]], 1]}},
    {
        "==": [
            {"reduce": [{"var": "texts"}, [BODIES["acc"]] * 2, 1]},
            {"reduce": [{"var": "texts"}, [BODIES["acc"]] * 2, 1]},
        ]
    },
    {"reduce": [MANY, {"*": [BODIES["acc"], BODIES["acc"]]}, 3]},
    {"reduce": [MANY, {"+": [BODIES["acc"], BODIES["acc"]]}, 1e300]},
    {"reduce": [MANY, {"merge": [BODIES["acc"], {"var": "current"}, {"var": "input.many"}]}, []]},
    {"map": [MANY, {"map": [{"var": "input.many"}, {"map": [{"var": "input.many"}, 1]}]}]},
    {"map": [MANY, {"filter": [{"var": "input.many"}, True]}]},
    {"map": [MANY, {"var": "input"}]},
    {"map": [MANY, {"in": ["z", {"var": "input.big"}]}]},
    {"map": [MANY, {"==": [{"var": "input.big"}, {"var": "input.same"}]}]},
    {"map": [MANY, {"<": [{"var": "input.big"}, {"var": "input.same"}]}]},
    {"map": [MANY, {"==": [{"var": "input.many"}, {"var": "input.many"}]}]},
    {"map": [MANY, {"in": [-1, {"var": "input.many"}]}]},
    {"map": [MANY, {"max": [{"var": "input.many"}]}]},
    {"map": [MANY, {"cat": [{"var": "input.texts"}]}]},
    {"map": [MANY, {"substr": [{"var": "input.big"}, 1]}]},
    {"map": [MANY, {"+": [{"var": "input.digits"}, 1]}]},
    {"map": [MANY, {"-": [{"var": "input.digits"}]}]},
    {"map": [MANY, {">": [{"var": "input.digits"}, 1]}]},
    {"map": [MANY, {"var": {"var": "input.digits"}}]},
    {"map": [MANY, {"missing": {"var": "input.many"}}]},
    {"map": [MANY, {"missing_some": [1, {"var": "input.many"}]}]},
    {"map": [MANY, {"merge": [{"var": "input.many"}, 1]}]},
    {"map": [MANY, "{{input.big}}"]},
    {"map": [MANY, "{{json(input.many)}}"]},
    {"map": [MANY, "{{lower(input.big)}}"]},
    {"map": [MANY, {"!": ["{{not input.spaces or starts_with(input.spaces, input.big)}}"]}]},
    {"map": [MANY, "{{default(input.nothing, input.nothing, input.nothing, input.nothing, input.big)}}{{input.n}}"]},
    {"map": [MANY, "{{input.big}}{{input.n}}"]},
    {"all": [MANY, {"all": [{"var": "input.many"}, True]}]},
    {"some": [MANY, {"some": [{"var": "input.many"}, False]}]},
    {"none": [MANY, {"some": [{"var": "input.many"}, False]}]},
    {"filter": [MANY, {"reduce": [{"var": "input.many"}, 1, 1]}]},
    {"or": [{"in": [{"var": "same"}, {"var": "big"}]}] * 300},
    {"merge": [MANY] * 1_000},
    {"cat": [{"var": "big"}] * 1_000},
    {"cat": [{"var": "texts"}] * 1_000},
    [{"var": "big"}] * 10,
    {"==": [1] * 9_000},
    {"+": [1] * 20_000},
    {"+": [1e308, 1e308]},
    {"*": [1e308, 1e308]},
    {"*": [{"var": "digits"}, 10]},
    {"-": [{"var": "list"}]},
    {"-": [{"var": "text"}]},
    {"+": [{"var": "object"}, 1]},
    {"/": [1, 0]},
    {"/": [0, 0]},
    {"%": [1, 0]},
    {"/": [1, ""]},
    {"max": []},
    {"min": {"merge": []}},
    {"max": ["a"]},
    {"var": {"reduce": [MANY, {"cat": [BODIES["acc"], "."]}, "a"]}},
    {"var": ".".join("x" * 100)},
    {"var": True},
    {"var": [1, 2, 3]},
    {"var": "tasks"},
    {"var": "tasks.a"},
    {"var": "tasks.a.__class__"},
    {"var": "tasks.a.attempt"},
    {"var": "execution"},
    {"var": "execution.__class__"},
    {"var": "now.x"},
    {"var": "secrets"},
    {"var": "secrets.key"},
    {"var": ["secrets.key", 1]},
    {"missing": ["secrets.key"]},
    {"missing_some": [1, ["secrets.key"]]},
    {"map": [[1], {"var": "secrets.key"}]},
    "{{secrets.key == 1}}",
    {"cat": ["{{input.text.__class__}}"]},
    {"__class__": []},
    {"__proto__": [{"var": "x"}]},
    {"constructor": ["return 1"]},
    {"method": ["abc", "upper"]},
    {"eval": ["1"]},
    {"$where": "1"},
    {"": []},
    {"VAR": "a"},
    {"var ": "a"},
    {"\0": 1},
    {"==": {"var": "n"}},
    {"map": {"var": "many"}},
    {"reduce": [[1]]},
    {"substr": []},
    {"in": ["a"]},
    {"if": [wrapped("!", 100)]},
    wrapped("!", 80),
    wrapped("and", 900),
    wrapped("cat", 5_000),
    {"map": [[1], wrapped("!", 70)]},
    listed(100),
    listed(900),
    {"cat": [{"var": "deep"}, listed(70)]},
]


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
