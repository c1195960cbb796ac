"""The answers about node types, as they go out."""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from api.answers import Time, encode
from api.execution_answers import FailureAnswer
from engine.catalog import NodeType
from engine.clock import rfc3339
from engine.trials import Trial


class NodeTypeAnswer(msgspec.Struct, frozen=True):
    """WHAT a task can do. `schema` is the JSON Schema of its config; `spellings` are other names of its fields."""

    type: str
    major: int
    description: str
    aliases: tuple[str, ...]
    spellings: dict[str, str]
    blocking: bool
    schema: dict[str, Any]


class StartAnswer(msgspec.Struct, frozen=True):
    """A workflow that the engine would execute."""

    workflow: int | str
    version: int | None
    input: Any
    wait: bool
    labels: dict[str, str]


class TrialAnswer(msgspec.Struct, frozen=True):
    """What one attempt came to; `config` is what it got, `elapsed` is in seconds."""

    status: Literal["completed", "failed", "sleeping", "waiting", "fanned_out"]
    config: dict[str, Any]
    output: Any
    label: str | None
    error: FailureAnswer | None
    retryable: bool | None
    seconds: float | None
    until: Time | None
    signal: str | None
    reason: str | None
    count: int | None
    starts: StartAnswer | None
    elapsed: float


def node_type(found: NodeType) -> bytes:
    return encode(NodeTypeAnswer(**msgspec.structs.asdict(found)))


def node_types(found: Iterable[NodeType]) -> bytes:
    return encode([NodeTypeAnswer(**msgspec.structs.asdict(one)) for one in found])


def trial(made: Trial) -> bytes:
    fields = msgspec.structs.asdict(made)
    until = None if made.until is None else rfc3339(made.until)
    error = None if made.error is None else FailureAnswer(made.error.type, made.error.message, made.error.task)
    starts = None if made.starts is None else StartAnswer(**msgspec.structs.asdict(made.starts))
    return encode(TrialAnswer(**{**fields, "until": until, "error": error, "starts": starts}))
