"""JSON Schema from outside: what it finds, and what it does not do."""

import asyncio
from typing import Any

import pytest

from engine.errors import Invalid
from engine.schemas import SHOWN, compile_schema
from tests.unit.egress.web import site


def test_faults_point_into_the_value() -> None:
    check = compile_schema({"type": "object", "properties": {"a/b": {"type": "array", "items": {"type": "integer"}}}})
    assert check({"a/b": [1, 2]}) == []
    (fault,) = check({"a/b": [1, "x"]})
    assert (fault.pointer, fault.code) == ("/a~1b/1", "schema")


def test_no_more_than_some_faults_are_told() -> None:
    assert len(compile_schema({"items": {"type": "integer"}})(["x"] * 1_000)) == SHOWN


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"$ref": "http://127.0.0.1:1/x.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/nowhere"},
        {"pattern": "("},
        {"pattern": "(a)\\1"},
        {"minimum": "5"},
    ],
)
def test_what_is_no_schema_or_would_be_fetched_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="not a JSON Schema that can be used"):
        compile_schema(schema)


async def test_nothing_is_fetched() -> None:
    async with site() as here:
        with pytest.raises(Invalid):
            await asyncio.to_thread(compile_schema, {"$ref": here.url("/schema.json")})
        assert here.asked == []


def test_a_hostile_pattern_costs_nothing() -> None:
    assert compile_schema({"pattern": "^(a+)+$"})("a" * 50_000 + "b")


def test_a_schema_may_refer_to_itself() -> None:
    check = compile_schema({"$defs": {"n": {"properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"})
    value: dict[str, Any] = {}
    for _ in range(60):
        value = {"next": value}
    assert check(value) == []
