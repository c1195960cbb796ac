"""What every file in `sandbox/` must do."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from engine import registry
from engine.errors import TaskError
from engine.task_ports import CodeLimits, CodeRunner

MIB = 1024 * 1024
LIMITS = CodeLimits(5.0, 64 * MIB)


@pytest.fixture(params=registry.names("sandbox"))
async def runner(request: pytest.FixtureRequest) -> AsyncIterator[CodeRunner]:
    opened: CodeRunner = registry.load("sandbox", request.param, "open_runner")()
    yield opened
    await opened.close()


async def value(runner: CodeRunner, code: str, **inputs: Any) -> Any:
    return (await runner.run(code, inputs, LIMITS)).value


async def failure(runner: CodeRunner, code: str, limits: CodeLimits = LIMITS, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as caught:
        await runner.run(code, inputs, limits)
    return caught.value


async def test_a_function_gets_its_inputs_and_gives_a_value(runner: CodeRunner) -> None:
    """The code of the agent example."""
    code = '\ndef process(input_data):\n    result = input_data * 2\n    return {"output": result}\n        '
    assert await value(runner, code, input_data=21) == {"output": 42}


@pytest.mark.parametrize(
    "given", [None, True, 0, -1.5, 2**62, "", "Grüße 🦀", [], {}, [1, {"a": [None]}], {"ключ": "значение"}]
)
async def test_plain_json_goes_in_and_comes_out(runner: CodeRunner, given: Any) -> None:
    assert await value(runner, "def process(x):\n  return [x, (x,)]", x=given) == [given, [given]]


async def test_what_is_printed_is_kept(runner: CodeRunner) -> None:
    ran = await runner.run("print('begin')\ndef process(x):\n  print('got', x)\n  return x", {"x": 1}, LIMITS)
    assert ran == (1, "begin\ngot 1\n")


async def test_usual_python_works(runner: CodeRunner) -> None:
    code = """
import json, math, re
from datetime import date
from collections import Counter

LIMIT = 3

def helper(words):
    return Counter(words).most_common(1)[0]

def process(text, extra=None):
    try:
        1 / 0
    except ZeroDivisionError as error:
        caught = str(error)
    words = re.findall("[a-z]+", text)
    match extra:
        case {"n": n}:
            pass
        case _:
            n = 0
    return {
        "top": helper(words),
        "lengths": sorted({len(w) for w in words}, key=lambda n: -n)[:LIMIT],
        "day": (date(2026, 1, 31)).isoformat(),
        "root": math.sqrt(n),
        "caught": caught,
        "again": json.loads(json.dumps(extra)),
        "text": f"{n:>3}",
    }
"""
    assert await value(runner, code, text="a bb a ccc", extra={"n": 4}) == {
        "top": ["a", 2],
        "lengths": [3, 2, 1],
        "day": "2026-01-31",
        "root": 2.0,
        "caught": "division by zero",
        "again": {"n": 4},
        "text": "  4",
    }


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        ("def process(x):\n  return y", "code_error", "NameError: .*y.*line 2 of"),
        (
            "def process(x):\n\n  raise ValueError('no ' + x)",
            "code_error",
            r"ValueError: no good \(line 3 of the code\)",
        ),
        ("def process(y):\n  return y", "code_error", "TypeError: .*argument"),
        ("1 / 0\ndef process(x):\n  return x", "code_error", "ZeroDivisionError.*line 1 of"),
        ("def process(:\n", "invalid_code", "not Python.*line 1 of"),
        ("x = 1", "invalid_code", "no function process"),
        ("import requests\ndef process(x):\n  return 1", "code_not_supported", "requests.*line 1 of"),
    ],
)
async def test_a_failure_says_what_and_where(runner: CodeRunner, code: str, kind: str, says: str) -> None:
    error = await failure(runner, code, x="good")
    assert error.type == kind
    assert error.retryable is (kind == "code_error")
    with pytest.raises(TaskError, match=says):
        raise error


@pytest.mark.parametrize(
    "returned",
    [
        "{1, 2}",
        "process",
        "float('nan')",
        "2 ** 70",
        "'\\0'",
        "object()",
        "[[]] * 200_000",
        "'x' * 2_000_000",
    ],
)
async def test_what_is_no_acceptable_json_is_a_failure(runner: CodeRunner, returned: str) -> None:
    error = await failure(runner, f"def process():\n  return {returned}")
    assert error.type in ("bad_output", "code_error")


DEEP = "def process():\n  a = []\n  for _ in range(100_000):\n    a = [a]\n  return a"


@pytest.mark.parametrize("code", [DEEP, "def process():\n  return process()"])
async def test_what_is_too_deep_is_a_failure(runner: CodeRunner, code: str) -> None:
    assert (await failure(runner, code)).type in ("bad_output", "code_error")


@pytest.mark.parametrize(
    "code",
    [
        "def process():\n  while True: pass",
        "def process():\n  while True:\n    try:\n      while True: pass\n    except BaseException: pass",
        "while True: pass",
        "def process():\n  return sum(x * y for x in range(10**6) for y in range(10**6))",
    ],
)
async def test_code_that_does_not_end_is_ended(runner: CodeRunner, code: str) -> None:
    error = await failure(runner, code, CodeLimits(0.5, 64 * MIB))
    assert error.type in ("timeout", "code_memory")
    assert await value(runner, "def process():\n  return 1") == 1


@pytest.mark.parametrize(
    "code",
    [
        "def process():\n  a = []\n  while True: a.append('x' * 100_000)",
        "def process():\n  return len('x' * 10**10)",
        "def process():\n  return len(str(9 ** 9 ** 9))",
    ],
)
async def test_code_that_eats_memory_is_ended(runner: CodeRunner, code: str) -> None:
    error = await failure(runner, code, CodeLimits(3.0, 32 * MIB))
    assert error.type in ("code_memory", "code_error", "timeout")
    assert await value(runner, "def process():\n  return 1") == 1


async def test_one_call_leaves_nothing_for_the_next(runner: CodeRunner) -> None:
    await runner.run("leak = 1\ndef process():\n  global leak\n  leak = 2\n  return 1", {}, LIMITS)
    error = await failure(runner, "def process():\n  return leak")
    assert error.type == "code_error"


async def test_a_cancelled_call_is_over(runner: CodeRunner) -> None:
    work = asyncio.create_task(runner.run("def process():\n  while True: pass", {}, CodeLimits(60.0, 64 * MIB)))
    await asyncio.sleep(0.3)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    many = [value(runner, "def process(x):\n  return x", x=x) for x in range(8)]
    assert await asyncio.gather(*many) == list(range(8))
