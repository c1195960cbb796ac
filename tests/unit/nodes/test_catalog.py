"""Names, spellings and descriptions of node types."""

from typing import Any, ClassVar

import msgspec
import pytest

from engine.catalog import Catalog
from engine.errors import ConfigurationError, NodeTypeNotFound
from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import NodeContext, Shape, Verbatim
from tests.unit.nodes.harness import CATALOG, HANDLERS, failure


class Part(msgspec.Struct):
    query: Verbatim = ""


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """What it takes."""

    program: Verbatim
    to_role: str = ""
    parts: tuple[Part, ...] = ()
    by_name: dict[str, Part] = {}


class Node:
    """What it does."""

    type: ClassVar[str] = "program"
    aliases: ClassVar[tuple[str, ...]] = ("prog",)
    spellings: ClassVar[dict[str, str]] = {"to": "to_role"}
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = True
    major = 1

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        return Completed(self.major)


class Second(Node):
    """What it does now."""

    major = 2


NODES = Catalog([Second(), Node()], [])


def test_names_lead_to_one_type() -> None:
    assert list(NODES.types()) == ["program"]
    names = ["program", "prog", "program@1", "prog@2", "program@3", "programme", "prog@", "@1", ""]
    assert [NODES.resolve(name) for name in names] == ["program", "program", "program@1", "program@2", *[None] * 5]
    assert [NODES.is_blocking(name) for name in ("prog", "prog@1", "x")] == [True, True, False]


@pytest.mark.parametrize(("name", "major"), [("prog", 2), ("program", 2), ("program@1", 1), ("prog@2", 2)])
def test_a_type_is_its_newest_major_unless_it_is_pinned(name: str, major: int) -> None:
    call = TaskCall(1, "a", name, {"program": ""})
    assert NODES.run(call, lambda: None, NodeContext(None, None)) == Completed(major)


def test_two_files_cannot_be_one_type() -> None:
    with pytest.raises(ConfigurationError, match="program@1"):
        Catalog([Node(), Node()], [])
    other = type("Other", (Node,), {"type": "other"})
    with pytest.raises(ConfigurationError, match="both called prog"):
        Catalog([Node(), other()], [])


def test_a_handler_that_lacks_something_is_named() -> None:
    poor: Any = type("Poor", (), {"type": "poor", "blocking": False})()
    with pytest.raises(
        ConfigurationError, match=r"the handler in test_catalog.py has no shape, run; see docs/nodes.md"
    ):
        Catalog([poor], [])


def test_every_spelling_is_stored_as_one() -> None:
    config = {"program": "", "toRole": "AE", "byName": {}, "other": 1}
    stored = ("program", {"program": "", "to_role": "AE", "by_name": {}, "other": 1})
    assert NODES.canonical("prog", config) == stored
    assert NODES.canonical("unknown", config) == ("unknown", config)
    assert NODES.canonical("program", {"to": "AE"})[1] == {"to_role": "AE"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [("/c/program", "required")]),
        ({"program": "", "toRole": 1}, [("/c/toRole", "invalid_config")]),
        ({"program": "", "to": "a", "to_role": "b"}, [("/c/to", "unknown_field")]),
        ({"program": "", "to": "a", "toRole": "b"}, [("/c/toRole", "unknown_field")]),
        ({"program": "{{input.x}}"}, [("/c/program", "template_not_allowed")]),
        ({"program": "", "parts": [{}, {"query": "{{x}}"}]}, [("/c/parts/1/query", "template_not_allowed")]),
        ({"program": "", "byName": {"a/b": {"query": "{{x}}"}}}, [("/c/byName/a~1b/query", "template_not_allowed")]),
        ({"program": "", "to": "{{input.x}}"}, []),
    ],
)
def test_faults_point_into_what_was_written(config: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert [(f.pointer, f.code) for f in NODES.config_faults("prog", config, "/c")] == expected


def test_a_type_is_described() -> None:
    found = NODES.describe("prog@1")
    assert (found.type, found.major, found.aliases, found.blocking) == ("program", 1, ("prog",), True)
    assert found.description == "What it does.\n\nWhat it takes."
    schema = found.schema["$defs"]["Config"]
    assert (schema["required"], schema["additionalProperties"]) == (["program"], False)
    with pytest.raises(NodeTypeNotFound, match="did you mean 'program'"):
        NODES.describe("programm")


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.type)
def test_every_node_of_ours_is_described(handler: Any) -> None:
    found = CATALOG.describe(handler.type)
    assert len(found.description) > 20
    assert msgspec.json.decode(msgspec.json.encode(found.schema))["$defs"]


async def test_a_type_that_is_not_here_is_a_final_failure_and_does_not_block() -> None:
    assert not CATALOG.is_blocking("of_another_release")
    error = await failure("of_another_release", {})
    assert (error.type, error.retryable) == ("unknown_node_type", False)
