"""JSONLogic written to do harm."""

from typing import Any


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
