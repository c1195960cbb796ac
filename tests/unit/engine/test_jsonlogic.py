"""JSONLogic: what each operator answers, beside a reference implementation, and what is refused."""

import json
from types import SimpleNamespace
from typing import Any

import datalogic_py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import TaskError
from engine.expressions.jsonlogic import NAMES
from engine.expressions.templates import compile_logic
from engine.expressions.tree import pointer_of
from engine.model import Failure
from engine.states import TaskStatus

DATA = {
    "a": 1,
    "name": "Ada",
    "none": None,
    "blank": "",
    "deep": {"er": {"list": [10, 20, {"x": "y"}]}, "": "unnamed"},
    "list": [3, 1, 2],
    "people": [{"age": 17}, {"age": 20}, {"age": 66}],
    "tasks": "not these",
}


def evaluate(rule: Any, data: Any = DATA, **tasks: Any) -> Any:
    template, faults = compile_logic(rule)
    assert faults == []
    return template.render(SimpleNamespace(execution_id=12, input=data, tasks=tasks, now=1.0))


VECTORS: list[tuple[Any, Any]] = [
    # what is no operator stands for itself
    (True, True),
    (None, None),
    (17, 17),
    (3.5, 3.5),
    ("apple", "apple"),
    ([], []),
    (["a", {"var": "a"}], ["a", 1]),
    ({}, {}),
    ({"two": 1, "keys": {"var": "a"}}, {"two": 1, "keys": {"var": "a"}}),
    # var
    ({"var": "a"}, 1),
    ({"var": ["a"]}, 1),
    ({"var": "deep.er.list.1"}, 20),
    ({"var": "deep.er.list.2.x"}, "y"),
    ({"var": "deep."}, "unnamed"),
    ({"var": "nothing"}, None),
    ({"var": ["nothing", 9]}, 9),
    ({"var": ["nothing", {"var": "a"}]}, 1),
    ({"var": ["none", 9]}, None),
    ({"var": "none.x"}, None),
    ({"var": "name.0"}, None),
    ({"var": "list.-1"}, None),
    ({"var": "list.9"}, None),
    ({"var": "list.length"}, None),
    ({"var": ""}, DATA),
    ({"var": None}, DATA),
    ({"var": []}, DATA),
    ({"var": {"cat": ["deep.er", ".list.0"]}}, 10),
    ({"var": [{"cat": ["no", "thing"]}, 4]}, 4),
    ({"var": {"var": "none"}}, DATA),
    ({"var": "input.a"}, 1),
    ({"var": "input"}, DATA),
    ({"var": ["input.nothing", 3]}, 3),
    ({"var": "execution.id"}, 12),
    ({"var": "now"}, "1970-01-01T00:00:01.000000Z"),
    # missing
    ({"missing": ["a", "b", "blank", "none"]}, ["b", "blank", "none"]),
    ({"missing": [["a", "b"]]}, ["b"]),
    ({"missing": "b"}, ["b"]),
    ({"missing": []}, []),
    ({"missing": {"merge": ["b", {"if": [True, ["c", "a"], []]}]}}, ["b", "c"]),
    ({"missing_some": [1, ["a", "b", "c"]]}, []),
    ({"missing_some": [2, ["a", "b", "c"]]}, ["b", "c"]),
    ({"missing_some": [0, []]}, []),
    ({"missing_some": [1, {"merge": ["b", "c"]}]}, ["b", "c"]),
    # if
    ({"if": []}, None),
    ({"if": ["alone"]}, "alone"),
    ({"if": [True, 1]}, 1),
    ({"if": [False, 1]}, None),
    ({"if": [0, 1, 2]}, 2),
    ({"if": [[], 1, "0", 2, 3]}, 2),
    ({"if": [False, 1, False, 2, False, 3]}, None),
    ({"?:": [True, "yes", "no"]}, "yes"),
    ({"if": [True, 1, {"/": [1, 0]}]}, 1),
    # equality
    ({"==": [1, 1.0]}, True),
    ({"==": [1, "1"]}, True),
    ({"==": ["1", 1]}, True),
    ({"==": [1, " 1 "]}, True),
    ({"==": [0, ""]}, True),
    ({"==": [0, False]}, True),
    ({"==": ["1", True]}, True),
    ({"==": [None, None]}, True),
    ({"==": [None, 0]}, False),
    ({"==": [None, False]}, False),
    ({"==": ["a", 0]}, False),
    ({"==": [[], False]}, True),
    ({"==": [[1, 2], "1,2"]}, True),
    ({"==": [[1, {"a": [2], "b": 1}], [1, {"a": [2], "b": 1}]]}, True),
    ({"==": [{"x": 1, "y": 2}, {"y": 2, "x": 1}]}, True),
    ({"==": [{"x": 1, "y": 2}, 1]}, False),
    ({"!=": [1, "1"]}, False),
    ({"!=": [1, 2]}, True),
    ({"===": [1, 1.0]}, True),
    ({"===": [1, "1"]}, False),
    ({"===": [1, True]}, False),
    ({"===": [[1], [True]]}, False),
    ({"===": [None, False]}, False),
    ({"!==": [1, "1"]}, True),
    # order
    ({">": [2, 1]}, True),
    ({">": ["2", 1]}, True),
    ({">": [1, 1]}, False),
    ({">=": [1, 1]}, True),
    ({"<": ["10", "9"]}, True),
    ({"<": ["10", 9]}, False),
    ({"<": ["a", 1]}, False),
    ({">": ["a", 1]}, False),
    ({">=": [None, 0]}, True),
    ({"<": [{"x": 1, "y": 1}, 1]}, False),
    ({"<": [[1], 2]}, True),
    ({"<": [1, 2, 3]}, True),
    ({"<": [1, 1, 3]}, False),
    ({"<": [1, 3, 3]}, False),
    ({"<=": [1, 1, 1]}, True),
    ({"<=": [1, 4, 3]}, False),
    # logic
    ({"!": [True]}, False),
    ({"!": []}, True),
    ({"!": [[]]}, True),
    ({"!": 0}, True),
    ({"!": "0"}, False),
    ({"!!": ["0"]}, True),
    ({"!!": [""]}, False),
    ({"!!": [[0]]}, True),
    ({"!!": [{"x": 1, "y": 1}]}, True),
    ({"!!": [{}]}, True),
    ({"!!": "false"}, True),
    ({"and": [1, 3]}, 3),
    ({"and": [3, 0, {"/": [1, 0]}]}, 0),
    ({"and": []}, None),
    ({"or": [0, 3, {"/": [1, 0]}]}, 3),
    ({"or": ["", []]}, []),
    # calculation
    ({"+": [1, 2, 3]}, 6),
    ({"+": "3.14"}, 3.14),
    ({"+": []}, 0),
    ({"+": ["1", None, True]}, 2),
    ({"+": [1.5, 1.5]}, 3),
    ({"*": [2, "3"]}, 6),
    ({"*": [2]}, 2),
    ({"-": [3, 2]}, 1),
    ({"-": ["3"]}, -3),
    ({"-": [0.3, 0.1]}, 0.3 - 0.1),
    ({"/": [4, 2]}, 2),
    ({"/": [1, 4]}, 0.25),
    ({"%": [7, 3]}, 1),
    ({"%": [-7, 3]}, -1),
    ({"%": [7, -3]}, 1),
    ({"%": [5.5, 2]}, 1.5),
    ({"+": [2**62, 1]}, 2**62 + 1),
    ({"+": [2**63 - 1, 1]}, float(2**63)),
    ({"max": [1, 3, "2"]}, 3),
    ({"min": [1, 3, "-2"]}, -2),
    ({"max": {"var": "list"}}, 3),
    ({"min": [{"var": "list"}]}, 1),
    # lists
    ({"merge": [1, [2, [3]], None]}, [1, 2, [3], None]),
    ({"merge": []}, []),
    ({"in": ["a", ["b", "a"]]}, True),
    ({"in": [1, ["1"]]}, False),
    ({"in": [[1], [[1]]]}, True),
    ({"in": ["ring", "Springfield"]}, True),
    ({"in": [1, "a1"]}, True),
    ({"in": ["a", None]}, False),
    ({"in": ["a", {"a": 1, "b": 2}]}, False),
    ({"map": [{"var": "list"}, {"*": [{"var": ""}, 2]}]}, [6, 2, 4]),
    ({"map": [{"var": "people"}, {"var": "age"}]}, [17, 20, 66]),
    ({"map": [{"var": "nothing"}, 1]}, []),
    ({"filter": [{"var": "people"}, {">": [{"var": "age"}, 18]}]}, [{"age": 20}, {"age": 66}]),
    ({"filter": [{"var": "list"}, True]}, [3, 1, 2]),
    ({"filter": ["text", True]}, []),
    ({"reduce": [{"var": "list"}, {"+": [{"var": "current"}, {"var": "accumulator"}]}, 10]}, 16),
    ({"reduce": [{"var": "list"}, {"var": "current"}]}, 2),
    ({"reduce": [{"var": "nothing"}, {"var": "current"}, 5]}, 5),
    ({"all": [{"var": "list"}, {">": [{"var": ""}, 0]}]}, True),
    ({"all": [{"var": "list"}, {">": [{"var": ""}, 1]}]}, False),
    ({"all": [[], True]}, False),
    ({"none": [{"var": "list"}, {">": [{"var": ""}, 5]}]}, True),
    ({"none": [[], True]}, True),
    ({"none": [{"var": "list"}, True]}, False),
    ({"some": [{"var": "list"}, {">": [{"var": ""}, 2]}]}, True),
    ({"some": [[], True]}, False),
    (
        {"map": [[[1, 2], [3]], {"reduce": [{"var": ""}, {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]}]},
        [3, 3],
    ),
    # inside, `input`, `tasks` and the like are still those of the whole
    ({"map": [[1, 2], {"+": [{"var": ""}, {"var": "input.a"}]}]}, [2, 3]),
    ({"map": [[1], {"map": [[2], {"var": "execution.id"}]}]}, [[12]]),
    ({"map": [[{"input": {"a": 5}, "x": 1}], {"var": "input.a"}]}, [5]),
    # texts
    ({"cat": ["a", 1, 1.0, None, True, [1, None, 2]]}, "a11true1,,2"),
    ({"cat": "one"}, "one"),
    ({"cat": []}, ""),
    ({"cat": [1e21, " ", 1e-7, " ", 0.00001, " ", 1.5e20, " ", -0.5]}, "1e+21 1e-7 0.00001 150000000000000000000 -0.5"),
    ({"cat": [{"x": 1, "y": []}]}, '{"x":1,"y":[]}'),
    ({"substr": ["jsonlogic", 4]}, "logic"),
    ({"substr": ["jsonlogic", -5]}, "logic"),
    ({"substr": ["jsonlogic", -50]}, "jsonlogic"),
    ({"substr": ["jsonlogic", 1, 3]}, "son"),
    ({"substr": ["jsonlogic", 4, -2]}, "log"),
    ({"substr": ["jsonlogic", 0, 99]}, "jsonlogic"),
    ({"substr": [12345, 1, 2]}, "23"),
    ({"log": {"var": "a"}}, 1),
    # a string with a template is one
    ({"==": ["{{input.name}}", "Ada"]}, True),
    ({"map": [[1], {"cat": ["{{input.a + 1}}", "<{{execution.id}}>"]}]}, ["2<12>"]),
]


@pytest.mark.parametrize(("rule", "value"), VECTORS, ids=lambda given: json.dumps(given)[:60])
def test_what_a_rule_answers(rule: Any, value: Any) -> None:
    found = evaluate(rule)
    assert found == value
    assert type(found) is type(value)


def test_every_operator_has_a_vector() -> None:
    def operators(rule: Any) -> set[str]:
        if isinstance(rule, list):
            return set().union(*map(operators, rule))
        return set(rule).union(*map(operators, rule.values())) if isinstance(rule, dict) else set()

    assert operators([rule for rule, _ in VECTORS]) >= NAMES


def test_tasks_are_reached_by_their_reserved_name_and_remembered() -> None:
    done = SimpleNamespace(output={"y": [5]}, status=TaskStatus.COMPLETED, error=None)
    failed = SimpleNamespace(output=None, status=TaskStatus.FAILED, error=Failure("boom", "it broke"))
    rule = [
        {"var": "tasks.a-1.output.y.0"},
        {"var": ["tasks.a-1.output.z", "none"]},
        {"var": "tasks.b.status"},
        {"var": "tasks.b.error.type"},
        {"missing": ["tasks.c.output.x"]},
        {"map": [[1], {"var": "tasks.d.output"}]},
    ]
    template, faults = compile_logic(rule, "/when")
    assert faults == []
    scope = SimpleNamespace(execution_id=1, input={}, tasks={"a-1": done, "b": failed}, now=1.0)
    assert template.render(scope) == [5, "none", "failed", "boom", ["tasks.c.output.x"], [None]]
    assert {key: pointer_of(place) for key, place in template.references.items()} == {
        "a-1": "/when/0/var",
        "b": "/when/2/var",
        "c": "/when/4/missing/0",
        "d": "/when/5/map/1/var",
    }


@pytest.mark.parametrize(
    "path", [{"cat": ["tasks.", "a.output"]}, {"cat": ["secrets.", "x"]}, {"cat": ["execution", ".id"]}]
)
def test_a_computed_path_leads_into_the_data_only(path: Any) -> None:
    done = SimpleNamespace(output=1, status=TaskStatus.COMPLETED, error=None)
    assert evaluate({"var": path}, {}, a=done) is None


@pytest.mark.parametrize(
    ("rule", "pointer", "part"),
    [
        ({"vra": "x"}, "/w/vra", "did you mean 'var'?"),
        ({"and": [True, {"fliter": [[], True]}]}, "/w/and/1/fliter", "did you mean 'filter'?"),
        ({"==": [1]}, "/w/==", "takes 2 arguments, not 1"),
        ({"==": 1}, "/w/==", "takes 2 arguments, not 1"),
        ({"<": [1, 2, 3, 4]}, "/w/<", "takes 2 to 3 arguments"),
        ({"max": []}, "/w/max", "takes at least 1 argument, not 0"),
        ({"map": [[1]]}, "/w/map", "a list and an expression"),
        ({"reduce": [[1]]}, "/w/reduce", "and a first value"),
        ({"var": ["a", 1, 2]}, "/w/var", "a path and a default"),
        ({"var": True}, "/w/var", "takes a path"),
        ({"var": ".".join("x" * 70)}, "/w/var", "at most 64 segments"),
        ({"missing_some": [1]}, "/w/missing_some", "a number and a list"),
        ({"var": "tasks"}, "/w/var", "unknown path"),
        ({"var": "tasks.a"}, "/w/var", "tasks.<key>.output"),
        ({"var": "execution.secret"}, "/w/var", "unknown path"),
        ({"==": [{"var": "secrets.key"}, "x"]}, "/w/==/0/var", "no expression can look at a secret"),
        ({"missing": ["secrets.key"]}, "/w/missing/0", "no expression can look at a secret"),
        ({"==": ["{{input.}}", "x"]}, "/w/==/0", "column"),
        ({"==": ["{{secrets.key == 1}}", 1]}, "/w/==/0", "a secret stands alone"),
        ({"in": ["a", "{{secrets.key}}"]}, "/w/in/1", "no expression can look at a secret"),
        ({"map": [[1], "Bearer {{secrets.key}}"]}, "/w/map/1", "no expression can look at a secret"),
    ],
)
def test_faults_say_where_and_what_to_do(rule: Any, pointer: str, part: str) -> None:
    _, faults = compile_logic(rule, "/w")
    assert [fault.pointer for fault in faults] == [pointer]
    assert part in faults[0].message


def test_all_faults_are_named() -> None:
    _, faults = compile_logic({"and": [{"x": 1}, {"==": []}, {"var": "tasks"}]})
    assert [fault.pointer for fault in faults] == ["/and/0/x", "/and/1/==", "/and/2/var"]


# --- beside a reference implementation ---

PATHS = st.sampled_from(["a", "b", "c.d", "c.e.0", "c.e.9", "l", "l.1", "nothing", "t"])
PEER_DATA = {"a": 1, "b": "text", "c": {"d": 2.5, "e": [7, 8]}, "l": [3, 1, 2], "t": "12"}
NUMBERS = st.integers(-1_000, 1_000) | st.sampled_from([0.5, 2.25, -1.5])
NUMERIC = NUMBERS | st.sampled_from(["7", "-2", "1.5", True, False, None, {"var": "a"}, {"var": "t"}, {"var": "l.1"}])
ANY = (
    st.sampled_from([None, True, False, "", "a", "0", "text", [], [1], ["a"]])
    | NUMBERS
    | st.builds(lambda p: {"var": p}, PATHS)
)


def _rules(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def rule(names: list[str], args: st.SearchStrategy[Any], least: int, most: int) -> st.SearchStrategy[Any]:
        return st.builds(lambda n, a: {n: a}, st.sampled_from(names), st.lists(args, min_size=least, max_size=most))

    truth = inner | ANY
    item = st.sampled_from([{"var": ""}, {">": [{"var": ""}, 1]}, {"*": [{"var": ""}, 2]}, {"==": [{"var": ""}, 3]}])
    lists = st.sampled_from([{"var": "l"}, {"var": "c.e"}, {"var": "nothing"}, [1, 2, 3], []])
    return st.one_of(
        rule(["+", "*"], NUMERIC, 1, 4),
        rule(["-"], NUMERIC, 2, 2),
        st.builds(lambda n, a, b: {n: [a, b]}, st.sampled_from(["/", "%"]), NUMERIC, NUMBERS.filter(bool)),
        rule(["-"], NUMERIC, 1, 1),
        rule(["min", "max"], NUMBERS, 1, 4),
        rule(["<", "<="], NUMERIC, 2, 3),
        rule([">", ">="], NUMERIC, 2, 2),
        rule(["<", ">", "<=", ">="], st.text("abc", max_size=3), 2, 2),
        rule(["===", "!=="], ANY, 2, 2),
        rule(["==", "!="], NUMBERS | st.sampled_from(["7", "1.5", True, {"var": "a"}]), 2, 2),
        rule(["and", "or"], truth, 1, 4),
        rule(["!", "!!"], truth, 1, 1),
        rule(["if"], truth, 1, 5),
        rule(["?:"], truth, 3, 3),
        rule(["merge"], st.sampled_from([1, "a", [], [1, [2]], {"var": "a"}, {"var": "l"}]), 0, 3),
        rule(["cat"], st.text(max_size=3) | st.integers(-(2**53), 2**53) | st.booleans() | st.none(), 0, 3),
        st.builds(lambda a: {"substr": a}, st.tuples(st.text("abc", max_size=6), st.integers(-8, 8)).map(list)),
        st.builds(
            lambda t, s, n: {"substr": [t, s, n]}, st.text("abc", max_size=6), st.integers(-8, 8), st.integers(-8, 8)
        ),
        st.builds(
            lambda a, b: {"in": [a, b]}, st.text("ab", max_size=2), st.text("ab") | st.lists(st.text("ab", max_size=2))
        ),
        st.builds(lambda a: {"missing": a}, st.lists(PATHS, max_size=3)),
        st.builds(lambda n, a: {"missing_some": [n, a]}, st.integers(0, 3), st.lists(PATHS, max_size=3, unique=True)),
        st.builds(lambda n, s, b: {n: [s, b]}, st.sampled_from(["map", "filter", "all", "none", "some"]), lists, item),
        st.builds(
            lambda s, n, i: {"reduce": [s, {n: [{"var": "current"}, {"var": "accumulator"}]}, i]},
            lists,
            st.sampled_from(["+", "*", "max"]),
            NUMBERS,
        ),
        st.builds(lambda p, d: {"var": [p, d]}, PATHS, ANY),
    )


RULES = st.recursive(ANY, _rules, max_leaves=12)
_peer = datalogic_py.Engine()


@given(RULES)
@settings(max_examples=500, deadline=None)
def test_it_agrees_with_the_reference(rule: Any) -> None:
    try:
        expected = json.loads(_peer.eval_str(json.dumps(rule), json.dumps(PEER_DATA)))
    except datalogic_py.DataLogicError:
        with pytest.raises(TaskError):
            evaluate(rule, PEER_DATA)
        return
    assert evaluate(rule, PEER_DATA) == expected
