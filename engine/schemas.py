"""JSON Schema, for values that other people promise: a schema is data from outside too."""

from collections.abc import Callable, Mapping
from typing import Any

from engine.documents import pointer
from engine.errors import Fault, Invalid

SHOWN = 20
"""Faults of one value that are told."""

Check = Callable[[Any], list[Fault]]
"""The faults of a value, with pointers into it; none: it fits."""


def compile_schema(schema: Mapping[str, Any] | bool) -> Check:
    """Raises `Invalid` for what is no schema. Nothing is fetched, and patterns are matched in linear time."""
    import jsonschema_rs  # noqa: PLC0415 — most processes never check one

    try:
        validator = jsonschema_rs.validator_for(
            dict(schema) if isinstance(schema, Mapping) else schema,
            pattern_options=jsonschema_rs.RegexOptions(),
            offline=True,
        )
    except (ValueError, RecursionError) as error:
        raise Invalid(
            f"this is not a JSON Schema that can be used: {str(error)[:500]}", code="invalid_schema"
        ) from None

    def check(value: Any) -> list[Fault]:
        faults: list[Fault] = []
        for error in validator.iter_errors(value):
            faults.append(Fault(error.message[:500], pointer(*error.instance_path), "schema"))
            if len(faults) == SHOWN:
                break
        return faults

    return check
