"""The expression grammar: what it reads, what it answers, what it refuses and how it says so."""

from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import TaskError
from engine.expressions.functions import FUNCTIONS
from engine.expressions.scope import Named
from engine.expressions.templates import compile_condition, compile_logic, compile_template, sealed
from engine.expressions.tree import pointer_of
from engine.states import TaskStatus

INPUT = {
    "n": 7,
    "f": 2.5,
    "text": "Straße",
    "from": "keyword",
    "and": 1,
    "net-price": 3,
    "net": 10,
    "price": 4,
    "list": [1, 2, [3]],
    "object": {"a b": 1},
    "none": None,
    "yes": True,
    "no": "false",
}


def scope(value: Any = INPUT) -> Any:
    done = SimpleNamespace(output={"category": "technical", "n": [5]}, status=TaskStatus.COMPLETED, error=None)
    return SimpleNamespace(
        execution_id=12,
        input=value,
        tasks={"classify": done, "fetch-invoice": done, "input": done},
        now=1_800_000_000.5,
    )


def evaluate(text: str) -> Any:
    template, faults = compile_template("{{" + text + "}}")
    assert faults == []
    return template.render(scope())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # literals
        ("1", 1),
        ("-1", -1),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("'it\\'s'", "it's"),
        ('"a\\n\\t\\\\\\""', 'a\n\t\\"'),
        ("'}}'", "}}"),
        ("'é and {'", "é and {"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("None", None),
        ("[]", []),
        ("[1, 'a', [input.n], null]", [1, "a", [7], None]),
        ("[0]", [0]),
        # paths
        ("input.from", "keyword"),
        ("input.and + 1", 2),
        ("input.net-price", 3),
        ("input.net - input.price", 6),
        ("input.list[2][0]", 3),
        ("input.object['a b']", 1),
        ("payload.n == parameters.n", True),
        ("classify.output.category", "technical"),
        ("tasks.fetch-invoice.output.n[0] + 1", 6),
        ("fetch-invoice.status", "completed"),
        ("tasks.input.output.n[0]", 5),
        ("execution.id", 12),
        ("now", "2027-01-15T08:00:00.500000Z"),
        ("now > '2027-01-15'", True),
        # precedence
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 2 - 3", 5),
        ("2 * 3 % 4", 2),
        ("12 / 2 / 3", 2),
        ("-input.n + 1", -6),
        ("- (2 + 3)", -5),
        ("2 * -3", -6),
        ("1 + 2 == 3", True),
        ("not 1 == 2", True),
        ("not true or true", True),
        ("true or false and false", True),
        ("false and true or true", True),
        ("!true || !false && true", True),
        ("not not 5", True),
        ("1 < 2 < 3", True),
        ("1 <= 1 <= 0", False),
        # operators as JSONLogic has them
        ("'7' == input.n", True),
        ("'7' === input.n", False),
        ("'7' !== input.n", True),
        ("input.none == 0", False),
        ("'b' > 'a'", True),
        ("2 in input.list", True),
        ("9 not in input.list", True),
        ("'tra' in input.text", True),
        ("input.n in [1, 7]", True),
        ("7/2", 3.5),
        ("8/2", 4),
        ("1+1", 2),
        # and, or and not answer their operands, and take texts that say no for what they say
        ("input.none or 'x'", "x"),
        ("input.yes and input.n", 7),
        ("input.no or 2", 2),
        ("not input.no", True),
        ("if(input.no, 1, 2)", 2),
        # functions
        ("len(input.text) + len(input.list) + len(input.object)", 10),
        ("lower('ÀB')", "àb"),
        ("upper(input.text)", "STRASSE"),
        ("trim('  a ')", "a"),
        ("default(input.nothing, 5)", 5),
        ("default(input.none, input.nothing.x, 'z')", "z"),
        ("default(input.n, 5)", 7),
        ("default(input.nothing.deeper + 1, 0)", 0),
        ("round(2.5)", 3),
        ("round(-2.5)", -3),
        ("round(2.675, 2)", 2.68),
        ("round(7)", 7),
        ("round(1e300)", 1e300),
        ("floor(2.9) + ceil(2.1) + abs(-1)", 6),
        ("min(3, input.n)", 3),
        ("max([1, 5, 2])", 5),
        ("contains(input.text, 'aß')", True),
        ("contains(input.list, 2)", True),
        ("contains(input.object, 'a b')", True),
        ("contains(input.object, 1)", False),
        ("starts_with(input.text, 'Str')", True),
        ("ends_with(input.text, 'x')", False),
        ("string(input.list)", "[1,2,[3]]"),
        ("string('a')", "a"),
        ("json('a')", '"a"'),
        ("json(input.object)", '{"a b":1}'),
        ("number('12')", 12),
        ("number(' 1.5 ')", 1.5),
        ("concat('a', 1, null, true)", "a1true"),
        ("substr('abcdef', -3, 2)", "de"),
        ("if(input.n > 5, 'big', 'small')", "big"),
        ("if(false, 1)", None),
    ],
)
def test_what_an_expression_answers(text: str, value: Any) -> None:
    found = evaluate(text)
    assert found == value
    assert type(found) is type(value)


def test_every_function_is_tried() -> None:
    tried = "".join(str(mark.args[1]) for mark in test_what_an_expression_answers.pytestmark)
    assert [name for name in FUNCTIONS if f"{name}(" not in tried] == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("input.n -1", "a minus sign between two values needs a space on both sides (column 11)"),
        ("5-3", "needs a space on both sides (column 4)"),
        ("input.n = 7", "to compare, write == (column 11)"),
        ("input.n | upper", "write upper(input.x) (column 11)"),
        ("uper(input.text)", "there is no function 'uper', did you mean 'upper'? (column 3)"),
        ("zzz(1)", "there are: abs, ceil"),
        ("len()", "len(…) takes 1 argument, not 0 (column 3)"),
        ("round(1, 2, 3)", "takes 1 to 2 arguments, not 3"),
        ("1 +", "the expression ends where a value is expected (column 6)"),
        ("1 2", "unexpected '2' after the end of the expression (column 5)"),
        ("(1", "the expression ends where ) is expected"),
        ("[1 ',' 2]", "where a comma or ] is expected"),
        ("[1,,2]", "unexpected ','"),
        ("1 < 2 > 1", "comparisons are not chained"),
        ("1 < 2 < 3 < 4", "comparisons are not chained"),
        ("1 == 1 == 1", "comparisons are not chained"),
        ("1 < 2 == true", "comparisons are not chained"),
        ("0 < input.n <= 9", "comparisons are not chained"),
        ("'abc", "the text does not end"),
        ("'a\\q'", "cannot read the escape \\q"),
        ("12345678901234567890", "too large"),
        ("1e999", "too large"),
        ("1.", "cannot read '1'"),
        ("5abc", "cannot read '5'"),
        ("and", "unexpected 'and' where a value is expected"),
        ("true.x", "a path is written like"),
        ("'{{input.n}}' == '7'", "leave the quotes around {{ }} away"),
        ("inputs.n > 1", "did you mean 'input'?"),
        ("tasks.classify.config", "unknown path"),
        ("now.year", "unknown path"),
        ("execution.key", "unknown path"),
        ("secrets.key == 1", "a secret stands alone"),
        ("lower(secrets.key)", "a secret stands alone"),
        ("secrets.key.x", "a secret stands alone"),
        ("item.x", "unknown path"),
    ],
)
def test_faults_say_where_and_what_to_do(text: str, part: str) -> None:
    _, faults = compile_template({"x": ["", "{{" + text + "}}"]}, "/tasks/0")
    assert [fault.pointer for fault in faults] == ["/tasks/0/x/1"]
    assert part in faults[0].message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("input.n + 'a'", "'a' is not a number; texts are joined with concat(…) in \"{{input.n + 'a'}}\""),
        ("-input.list", "a list is not a number"),
        ("1 / (input.n - 7)", "division by zero"),
        ("1 % 0", "division by zero"),
        ("1e308 * 10", "too large"),
        ("number('12 apples')", "is not a number"),
        ("number('')", "is not a number"),
        ("upper(5)", "upper(…) takes a text, not 5; string(…) makes one"),
        ("len(5)", "takes a text, a list or an object"),
        ("round(1.5, 99)", "0 to 15 digits"),
        ("max([])", "an empty list"),
        ("input.nothing == 1", "no value at 'input.nothing'"),
        ("input.text.upper == 1", "no value at"),
    ],
)
def test_what_fails_when_it_is_evaluated(text: str, part: str) -> None:
    template, faults = compile_template("{{" + text + "}}")
    assert faults == []
    with pytest.raises(TaskError) as caught:
        template.render(scope())
    assert part in str(caught.value)
    assert (caught.value.type, caught.value.retryable) == ("template", False)


def test_several_expressions_in_one_text() -> None:
    template, faults = compile_template("{{input.n + 1}}/{{ 'a}}b' }}/{{[1]}}/{{input.f * 2}}")
    assert faults == []
    assert template.render(scope()) == "8/a}}b/[1]/5"


def test_all_faults_of_a_text_are_named() -> None:
    _, faults = compile_template("{{input.n = 1}} {{nope}} {{input.n}} {{}} {{x", "/x")
    assert [fault.code for fault in faults] == ["template", "template_unknown_path", "template", "template"]


def test_a_secret_is_sealed_and_remembered() -> None:
    template, faults = compile_template({"a": ["Bearer {{secrets.api_key}}"], "b": "{{ secrets.other }}"}, "/c")
    assert faults == []
    assert template.render(scope()) == {"a": [f"Bearer {sealed('api_key')}"], "b": sealed("other")}
    assert {name: pointer_of(place) for name, place in template.secrets.items()} == {
        "api_key": "/c/a/0",
        "other": "/c/b",
    }


def test_names_of_a_scope_of_its_own() -> None:
    template, faults = compile_template(["{{item.id}}", "{{index + 1}}", "{{input.n}}"], names={"item", "index"})
    assert faults == []
    assert template.render(Named(scope(), {"item": {"id": "x"}, "index": 0})) == ["x", 1, 7]
    logic, faults = compile_logic({"cat": [{"var": "item.id"}, {"var": "index"}]}, names={"item", "index"})
    assert faults == []
    assert logic.render(Named(scope(), {"item": {"id": "x"}, "index": 0})) == "x0"


# --- conditions ---


def condition(value: Any, given_scope: Any = None) -> bool:
    template, faults = compile_condition(value)
    assert faults == []
    found: bool = template.render(given_scope or scope())
    return found


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("false", False),
        ("{{input.n}} > 5", True),
        ("{{ input.n }} > 10", False),
        ("{{classify.output.category}} == 'technical'", True),
        ("{{input.n + 1}} * 2 == 16", True),
        ("{{input.n > 10}} or {{input.yes}}", True),
        ("not {{input.yes}}", False),
        ("input.n > 5 and len(input.list) == 3", True),
        ("{{input.n}}", True),
        ("{{input.no}}", False),
        ("not {{input.no}}", True),
        ("'}}' == '}}'", True),
        ({"==": [{"var": "n"}, 7]}, True),
        ({"var": "no"}, False),
        ({"var": "nothing"}, False),
    ],
)
def test_a_condition_is_one_expression(text: Any, holds: bool) -> None:
    assert condition(text) is holds


SAY_NO = ["", " ", "false", "False", " FALSE ", "0", "no", "off", "null", "None"]
SAY_ELSE = ["true", "1", "yes", "on", "nope", "falsehood", "00", "x" * 1_000]
FALSE: list[Any] = [None, False, 0, 0.0, []]
TRUE: list[Any] = [True, 1, -1, 0.5, [0], {}, {"a": 1}]


@pytest.mark.parametrize(
    ("value", "holds"),
    [*[(value, False) for value in SAY_NO + FALSE], *[(value, True) for value in SAY_ELSE + TRUE]],
)
def test_what_holds(value: Any, holds: bool) -> None:
    given_scope = scope({"x": value})
    assert condition("{{input.x}}", given_scope) is holds
    assert condition("not {{input.x}}", given_scope) is not holds
    assert condition("input.x and true", given_scope) is holds
    assert condition("input.x or false", given_scope) is holds
    assert condition("if(input.x, true, false)", given_scope) is holds
    assert condition({"var": "x"}, given_scope) is holds


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("yes", "invalid_condition"),
        ("always run", "invalid_condition"),
        ("", "invalid_condition"),
        ("Hello {{input.n}}", "invalid_condition"),
        ("{{input.n}} {{input.n}}", "invalid_condition"),
        ("{{input.n", "invalid_condition"),
        ("input.n}} > 1", "invalid_condition"),
        ("{{ {{input.n}} }}", "invalid_condition"),
        ("{{nope}} > 1", "template_unknown_path"),
        ("{{secrets.x}}", "template_secret"),
        ("{{input.n}} > 1" + " " * 70_000, "invalid_condition"),
        (5, "invalid_condition"),
        (None, "invalid_condition"),
        ([], "invalid_condition"),
        ({"nope": 1}, "jsonlogic"),
    ],
)
def test_what_is_no_condition(value: Any, code: str) -> None:
    _, faults = compile_condition(value, "/when")
    assert [fault.code for fault in faults] == [code]
    assert faults[0].pointer.startswith("/when")


def test_a_value_is_never_read_as_an_expression() -> None:
    hostile = scope({"value": "1 or true", "other": "{{execution.id}}"})
    assert condition("{{input.value}} == 'x'", hostile) is False
    assert compile_template("{{input.other}}")[0].render(hostile) == "{{execution.id}}"
    assert compile_template("<{{input.other}}>")[0].render(hostile) == "<{{execution.id}}>"


def test_references_of_a_condition() -> None:
    template, _ = compile_condition("{{a.output.x}} and tasks.b-1.status == 'failed' or {{input.c.output}}", "/w")
    assert {key: pointer_of(place) for key, place in template.references.items()} == {"a": "/w", "b-1": "/w"}
