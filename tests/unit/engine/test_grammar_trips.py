"""What is written is what is read: tokens, and expressions beside the same rules in JSONLogic."""

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import TaskError
from engine.expressions.templates import Template, compile_condition, compile_logic, compile_template
from engine.expressions.tokens import KEYWORDS, tokenize
from tests.unit.engine.test_grammar import scope

WORDS = st.from_regex(r"[A-Za-z_$][A-Za-z0-9_$-]{0,8}", fullmatch=True).filter(lambda word: word not in KEYWORDS)
SEGMENTS = st.from_regex(r"\.[A-Za-z0-9_$-]{1,8}|\[[0-9]{1,9}\]|\[\"[^\"\\]{0,8}\"\]", fullmatch=True)
SIGNS = [
    "==",
    "!=",
    "===",
    "!==",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "(",
    ")",
    "[",
    "]",
    ",",
    "!",
    "&&",
    "||",
]
TOKENS = st.one_of(
    st.builds(lambda word, rest: ("path", word + "".join(rest)), WORDS, st.lists(SEGMENTS, max_size=4)),
    st.integers(0, 10**12).map(lambda n: ("number", str(n))),
    st.floats(0, 1e15).map(lambda n: ("number", repr(n))),
    st.sampled_from(sorted(KEYWORDS - {"True", "False", "None"})).map(lambda word: ("word", word)),
    st.sampled_from(SIGNS).map(lambda s: ("sign", s)),
    st.text(max_size=8).map(lambda text: ("text", text)),
)


def written(kind: str, text: str) -> str:
    if kind != "text":
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@given(st.lists(TOKENS, max_size=12), st.sampled_from([" ", "\n", " \t "]))
@settings(max_examples=300, deadline=None)
def test_tokens_are_read_as_they_were_written(tokens: list[tuple[str, str]], space: str) -> None:
    source = space.join(written(*token) for token in tokens)
    read = tokenize(source)
    assert [(token.kind, token.text) for token in read[:-1]] == tokens
    assert all(source[token.start : token.end] == written(token.kind, token.text) for token in read[:-1])
    assert read[-1].end == len(source)


LEVELS = {"or": 1, "and": 2, "in": 4, **dict.fromkeys(("==", "!=", "===", "!==", "<", "<=", ">", ">="), 4)}
LEVELS |= {"+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
CALLS = {"min": "min", "max": "max", "cat": "concat", "substr": "substr", "if": "if"}
Rule = Any
LEAVES = st.sampled_from(
    [{"var": "n"}, {"var": "f"}, {"var": "text"}, {"var": "list"}, {"var": "net-price"}]
) | st.one_of(st.integers(-99, 99), st.sampled_from([0.5, True, False, None, "abc", "12", "it's", [1, 2], [], ["abc"]]))


def _grown(inner: st.SearchStrategy[Rule]) -> st.SearchStrategy[Rule]:
    two = st.lists(inner, min_size=2, max_size=2)
    return st.one_of(
        st.builds(lambda name, args: {name: args}, st.sampled_from(sorted(LEVELS)), two),
        st.builds(
            lambda name, args: {name: args},
            st.sampled_from(["+", "*", "and", "or"]),
            st.lists(inner, min_size=2, max_size=4),
        ),
        st.builds(
            lambda name, args: {name: args}, st.sampled_from(["<", "<="]), st.lists(inner, min_size=3, max_size=3)
        ),
        st.builds(lambda arg: {"!": [arg]}, inner),
        st.builds(lambda arg: {"-": [arg]}, inner),
        st.builds(
            lambda name, args: {name: args}, st.sampled_from(["min", "max"]), st.lists(inner, min_size=1, max_size=3)
        ),
        st.builds(lambda args: {"cat": ["x", *args]}, st.lists(inner, max_size=2)),
        st.builds(
            lambda arg, start: {"substr": [arg, start]}, st.sampled_from(["abc", {"var": "text"}]), st.integers(-4, 4)
        ),
        st.builds(lambda args: {"if": args}, st.lists(inner, min_size=3, max_size=3)),
    )


def spelled(rule: Rule, needed: int, extra: bool) -> str:
    """A rule in the grammar, with as few parentheses as may be, or with all."""
    if not isinstance(rule, dict):
        return literal(rule)
    ((name, args),) = rule.items()
    if name == "var":
        return f"input.{args}"
    if name in CALLS:
        return f"{CALLS[name]}({', '.join(spelled(arg, 0, extra) for arg in args)})"
    if name == "!":
        text, level = f"not {spelled(args[0], 4, extra)}", 3
    elif name == "-" and len(args) == 1:
        text, level = (
            f"-{spelled(args[0], 7, True) if not isinstance(args[0], dict) else spelled(args[0], 7, extra)}",
            7,
        )
        text = f"-({spelled(args[0], 0, extra)})"
    else:
        level = LEVELS[name]
        first = spelled(args[0], level if level in (1, 2, 5, 6) else level + 1, extra)
        text = f" {name} ".join([first, *(spelled(arg, level + 1, extra) for arg in args[1:])])
    return f"({text})" if level < needed or extra else text


def literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return "'" + value.replace("'", "\\'") + "'" if isinstance(value, str) else json.dumps(value)


def answer(template: Template) -> Any:
    try:
        return template.render(scope())
    except TaskError as error:
        return re.sub(r" in ['\"].*", "", str(error))


@given(st.recursive(LEAVES, _grown, max_leaves=10), st.booleans())
@settings(max_examples=400, deadline=None)
def test_the_grammar_and_jsonlogic_are_the_same(rule: Rule, extra: bool) -> None:
    text = spelled(rule, 0, extra)
    by_grammar, faults = compile_template("{{" + text + "}}")
    by_logic, bad = compile_logic(rule)
    assert (faults, bad) == ([], [])
    expected = answer(by_logic)
    found = answer(by_grammar)
    assert found == expected, text
    assert type(found) is type(expected)
    in_condition, faults = compile_condition("{{" + text + "}}")
    assert faults == []
    assert answer(in_condition) == answer(compile_condition(rule)[0]) or not isinstance(rule, dict)
