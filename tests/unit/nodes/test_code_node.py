"""`code`, and the edges of its default sandbox."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from engine.model import Completed, Failed
from engine.task_ports import CodeLimits, NodeContext
from sandbox.monty_runner import MontyRunner
from tests.hostile.code import BODIES
from tests.unit.nodes.harness import CATALOG, completed, failure, faults, run, runner, timed_out

LOOP = "def process():\n  while True: pass"


@pytest.fixture
async def world(context: NodeContext) -> AsyncIterator[NodeContext]:
    sandbox = MontyRunner()
    yield structs.replace(context, code=sandbox)
    await sandbox.close()


async def test_the_example_of_the_document(world: NodeContext) -> None:
    config = {
        "language": "python",
        "code": '\ndef process(input_data):\n    result = input_data * 2\n    return {"output": result}\n        ',
        "input_mapping": {"input_data": 21},
    }
    assert await completed("code", config, world) == {"output": 42}


async def test_what_is_printed_is_logged(world: NodeContext) -> None:
    with capture_logs() as lines:
        await run("code", {"code": "def process():\n  print('hello')"}, world)
    assert [(line["text"], line["task"]) for line in lines if line["event"] == "printed"] == [("hello\n", "a")]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def g():\n  yield 1\ndef process():\n  return list(g())", "line 2"),
        ("class A:\n  pass\nclass B(A):\n  pass\ndef process():\n  return 1", "line 3"),
        ("import socket\ndef process():\n  return 1", "line 1"),
    ],
)
async def test_the_edges_of_the_language_are_named(world: NodeContext, code: str, says: str) -> None:
    error = await failure("code", {"code": code}, world)
    assert (error.type, error.retryable) == ("code_not_supported", False)
    assert says in error.message
    assert "no yield, no class inheritance" in error.message
    assert "json" in error.message


@pytest.mark.parametrize("body", BODIES)
async def test_nothing_of_this_machine_can_be_reached(world: NodeContext, body: str) -> None:
    error = await failure("code", {"code": f"def process():\n  {body}"}, world)
    assert error.type in ("code_error", "code_not_supported", "bad_output")


async def test_sleeping_costs_no_time(world: NodeContext) -> None:
    code = "import time\ndef process():\n  time.sleep(3600)\n  return 1"
    assert await completed("code", {"code": code, "timeout": 0.5}, world) == 1


async def test_code_times_out_by_its_own_limit_and_by_that_of_its_task(world: NodeContext) -> None:
    error = await failure("code", {"code": LOOP, "timeout": 0.2}, world)
    assert (error.type, error.retryable) == ("timeout", True)
    await timed_out(world, "code", {"code": LOOP, "timeout": 60})


async def test_code_can_be_cancelled_and_tried_again(world: NodeContext) -> None:
    begun = asyncio.Event()
    asyncio.get_running_loop().call_later(0.2, begun.set)
    async with runner(world) as attempts:
        await attempts.cancelled("code", {"code": LOOP, "timeout": 60}, begun)
        first = await attempts.result("code", {"code": "def process():\n  raise ValueError"})
        second = await attempts.result("code", {"code": "def process():\n  return 1"}, attempt=2)
    assert isinstance(first, Failed)
    assert first.retryable
    assert second == Completed(1)


async def test_a_hundred_at_once_wait_for_their_turn(world: NodeContext) -> None:
    code = "def process(x):\n  return x * x"
    many = [world.code.run(code, {"x": x}, CodeLimits(5, 32 * 1024 * 1024)) for x in range(100)]
    assert [ran.value for ran in await asyncio.gather(*many)] == [x * x for x in range(100)]


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({}, ["/config/code"]),
        ({"code": ""}, ["/config/code"]),
        ({"code": "x", "language": "ruby"}, ["/config/language"]),
        ({"code": "x", "timeout": 301}, ["/config/timeout"]),
        ({"code": "x", "memoryMb": 0}, ["/config/memoryMb"]),
        ({"code": "x", "inputMapping": {"a b": 1}}, ["/config/inputMapping"]),
        ({"code": "x = '{{input.x}}'"}, ["/config/code"]),
        ({"code": "x", "inputs": {"a": "{{input.a}}"}}, []),
    ],
)
def test_bad_configs_are_told_at_save(config: dict[str, Any], where: list[str]) -> None:
    assert faults("code", config) == where


@pytest.mark.parametrize(
    "code", ["def process(:\n  return 1", "\nprint 'x'", "x = (1,\n", "1 = 2", "def process():\nreturn 1"]
)
def test_what_is_not_python_is_told_at_save_with_its_line(code: str) -> None:
    (fault,) = CATALOG.config_faults("code", {"source": code, "inputs": {"a": "{{input.a}}"}}, "/config")
    assert fault.pointer == "/config/source"
    assert re.fullmatch(r"source: not Python: .+ \(line [12] of the code\)", fault.message)


READ_BY_SOME = (
    "a = {'x': 1}\ndef process():\n  return f'{a['x']}'",
    "def process():\n  try:\n    return 1\n  except ValueError, KeyError:\n    return 2",
    "def process[T](x: T = 1):\n  return 1",
    "def process():\n\tif 1:\n        return 1",
    "def process():\n  return " + "(" * 250 + "1" + ")" * 250,
    "\ufeffdef process():\n  return 1",
    "def process():\n  return 1if 1 else 2",
    "def process():\n  return len('\\d')",
)


@pytest.mark.parametrize("code", READ_BY_SOME)
async def test_what_the_sandbox_runs_is_never_refused_at_save(world: NodeContext, code: str) -> None:
    """Whatever this Python makes of it: the sandbox has a parser of its own."""
    assert faults("code", {"code": code}) == []
    assert await completed("code", {"code": code}, world) in (1, "1", 2)


def test_spellings() -> None:
    assert CATALOG.canonical("code", {"inputMapping": {}, "code": ""})[1] == {"input_mapping": {}, "code": ""}
