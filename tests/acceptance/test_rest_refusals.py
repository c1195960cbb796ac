"""Whatever is sent, the answer is a problem that says what is wrong and where; nothing is half-written."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.rest import Rest, open_rest

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rest(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rest]:
    """One for all of these tests: none of them may leave anything behind."""
    async with open_rest(f"sqlite:///{tmp_path_factory.mktemp('rest')}/millrace.db") as rest:
        await rest.post("/workflows/", {"name": "a", "key": "a"})
        await rest.post("/workflows/1/tasks/", {"name": "first", "key": "first"})
        yield rest


HOSTILE = {
    "not JSON": (b"{name: 1}", "invalid_document", 422),
    "cut off": (b'{"name": "a"', "invalid_document", 422),
    "depth 1,000": (b'{"name":' + b"[" * 1000 + b"]" * 1000 + b"}", "invalid_document", 422),
    "depth 100,000": (b"[" * 100_000, "invalid_document", 422),
    "NaN": (b'{"name": NaN}', "invalid_document", 422),
    "Infinity": (b'{"name": "a", "description": -Infinity}', "invalid_document", 422),
    "a key twice": (b'{"name": "a", "name": "b"}', "invalid_document", 422),
    "a lone surrogate": (b'{"name": "\\ud800"}', "invalid_document", 422),
    "NUL": (b'{"name": "a\\u0000"}', "invalid_document", 422),
    "not UTF-8": (b'{"name": "\xff"}', "invalid_document", 422),
    "a huge integer": (b'{"name": ' + b"9" * 5000 + b"}", "invalid_document", 422),
    "2 MiB": (b'{"name": "' + b"a" * (2 * 1024 * 1024) + b'"}', "too_large", 413),
    "20 MiB": (b" " * (20 * 1024 * 1024), "too_large", 413),
    "an array": (b"[]", "invalid", 422),
    "a string": (b'"a"', "invalid", 422),
    "null": (b"null", "invalid", 422),
    "nothing": (b"", "invalid", 422),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("path", ["/workflows/", "/workflows/1/tasks/"])
async def test_hostile_bodies(rest: Rest, path: str, name: str) -> None:
    body, code, status = HOSTILE[name]
    answer = await rest.post(path, body)
    assert (answer.status, answer.code) == (status, code)
    assert len((await rest.get("/workflows/")).json()) == 1
    assert len((await rest.get("/workflows/1/tasks/")).json()) == 1


async def test_code_that_is_not_python(rest: Rest) -> None:
    """Refused when it is saved, and at the field."""
    code = {"type": "code", "config": {"code": "def process():\n  return (1"}}
    answer = await rest.post("/workflows/", {"key": "b", "tasks": [{"id": "a", **code}]})
    assert (answer.status, answer.code) == (422, "invalid_workflow")
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/tasks/0/config/code"
    assert error["message"] == "code: not Python: '(' was never closed (line 2 of the code)"
    row = await rest.post("/workflows/1/tasks/", {"name": "bad", "type": "code", "parameters": code["config"]})
    assert (row.status, row.json()["errors"][0]["pointer"]) == (422, "/parameters/code")


@pytest.mark.parametrize("path", ["/workflows/1/execute", "/executions/1/signals/x", "/executions/1/cancel"])
async def test_hostile_optional_bodies(rest: Rest, path: str) -> None:
    for name, (body, code, status) in HOSTILE.items():
        if code in ("invalid_document", "too_large"):
            answer = await rest.post(path, body)
            assert (answer.status, answer.code) == (status, code), name
    assert (await rest.get("/executions")).json()["items"] == []


BAD_WORKFLOWS: list[tuple[Any, list[str]]] = [
    ({}, ["/name"]),
    ({"name": ""}, ["/name"]),
    ({"name": "  "}, ["/name"]),
    ({"name": 5}, ["/name"]),
    ({"name": "a" * 10_000}, ["/name"]),
    ({"name": "a", "description": "d" * 10_001}, ["/description"]),
    ({"name": "a", "key": "123"}, ["/key"]),
    ({"name": "a", "key": "a b"}, ["/key"]),
    ({"name": "a", "key": ""}, ["/key"]),
    ({"name": "a", "a/b~c": 1}, ["/a~1b~0c"]),
    ({"name": None, "description": 1}, ["/name", "/description"]),
]


@pytest.mark.parametrize(("body", "pointers"), BAD_WORKFLOWS)
async def test_bad_workflows(rest: Rest, body: Any, pointers: list[str]) -> None:
    answer = await rest.post("/workflows/", body)
    assert (answer.status, answer.pointers) == (422, pointers)
    if "name" in body:
        assert (await rest.put("/workflows/1", body)).pointers == pointers


BAD_TASKS: list[tuple[Any, list[str]]] = [
    ({"name": "a" * 10_000}, ["/name"]),
    ({"name": "t", "order": "1"}, ["/order"]),
    ({"name": "t", "order": 1.5}, ["/order"]),
    ({"name": "t", "order": True}, ["/order"]),
    ({"name": "t", "order": 2**40}, ["/order"]),
    ({"name": "t", "execution_type": "parallel"}, ["/execution_type"]),
    ({"name": "t", "parameters": []}, ["/parameters"]),
    ({"name": "t", "parameters": {"duration": -1}}, ["/parameters/duration"]),
    ({"name": "t", "type": "delay", "parameters": {"ms": -1}}, ["/parameters/ms"]),
    ({"name": "t", "type": "dellay"}, ["/type"]),
    ({"name": "t", "key": "first"}, ["/key"]),
    ({"name": "t", "key": "a.b"}, ["/key"]),
    ({"name": "t", "depends_on": ["nobody"]}, ["/depends_on/0"]),
    ({"name": "t", "depends_on": ["first", 2]}, ["/depends_on/1"]),
    ({"name": "t", "depends_on": "first"}, ["/depends_on"]),
    ({"name": "t", "retry": {"max_attempts": 0}}, ["/retry/max_attempts"]),
    ({"name": "t", "retry": {"max_attempts": 2, "jitter": 2, "x": 1}}, ["/retry/jitter", "/retry/x"]),
    ({"name": "t", "retry": 3}, ["/retry"]),
    ({"name": "t", "timeout": -1}, ["/timeout"]),
    ({"name": "t", "timeout": "5"}, ["/timeout"]),
    ({"name": "t", "when": "always"}, ["/when"]),
    ({"name": "t", "executor": "cloud"}, ["/executor"]),
    ({"name": "t", "on_error": "nobody"}, ["/on_error"]),
    ({"name": "t", "parameters": {"x": "{{tasks.nobody.output}}"}}, ["/parameters/x"]),
    ({"name": "t", "parameters": {"x": {"y": ["{{nothing.here}}"]}}}, ["/parameters/x/y/0"]),
]


@pytest.mark.parametrize(("body", "pointers"), BAD_TASKS, ids=[json.dumps(body)[:60] for body, _ in BAD_TASKS])
async def test_bad_tasks(rest: Rest, body: Any, pointers: list[str]) -> None:
    answer = await rest.post("/workflows/1/tasks/", body)
    assert answer.status in (409, 422)
    if answer.code != "key_taken":
        assert list(dict.fromkeys(answer.pointers)) == pointers
    assert len((await rest.get("/workflows/1/tasks/")).json()) == 1


async def test_a_cycle_is_refused(rest: Rest) -> None:
    await rest.post("/workflows/1/tasks/", {"name": "second", "key": "second", "depends_on": ["first"]})
    answer = await rest.put("/workflows/1/tasks/1", {"depends_on": ["second"]})
    assert answer.status == 422
    assert [error["code"] for error in answer.json()["errors"]] == ["cycle"]
    assert (await rest.get("/workflows/1/tasks/1")).json()["depends_on"] == []
    await rest.delete("/workflows/1/tasks/2")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("/workflows?limit=0", "/limit"),
        ("/workflows?limit=1001", "/limit"),
        ("/workflows?skip=-1", "/skip"),
        ("/workflows?skip=99999999999999999999", "/skip"),
        ("/workflows?skip=x", "/skip"),
        ("/workflows?limti=5", "/limti"),
        ("/executions?status=finished", "/status"),
        ("/executions?workflow_id=a%20b", "/workflow_id"),
        ("/executions?created_from=yesterday", "/created_from"),
        ("/executions?created_to=2026-11-20T12:00:00", "/created_to"),
        ("/executions?cursor=abc", "/cursor"),
        ("/executions?cursor=WzFlMzA4LDFd", "/cursor"),
        ("/executions/1/events?after=-1", "/after"),
        ("/executions/1/events?after=99999999999999999999", "/after"),
    ],
)
async def test_bad_parameters(rest: Rest, query: str, pointer: str) -> None:
    answer = await rest.get(query)
    assert (answer.status, answer.pointers) == (422, [pointer])


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "inf", "x"])
async def test_bad_waits(rest: Rest, wait: str) -> None:
    assert (await rest.post(f"/workflows/1/execute?wait={wait}")).pointers == ["/wait"]
    assert (await rest.get("/executions")).json()["items"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/workflows/2",
        "/workflows/nobody",
        "/workflows/a%00b",
        "/workflows/%ED%A0%80",
        "/workflows/99999999999999999999",
        "/workflows/9007199254740991",
        "/workflows/" + "1" * 5000,
        "/workflows/" + "k" * 300,
        "/workflows/1/tasks/7",
        "/workflows/1/tasks/x",
        "/workflows/2/tasks/1",
        "/workflows/1/tasks/99999999999999999999",
        "/executions/1",
        "/executions/x",
        "/executions/-1",
        "/executions/1/steps",
        "/executions/1/events",
        "/executions/9007199254740992",
    ],
)
async def test_what_is_not_there_is_404(rest: Rest, path: str) -> None:
    answer = await rest.get(path)
    assert answer.status == 404
    assert answer.code in ("workflow_not_found", "task_not_found", "execution_not_found")


@pytest.mark.parametrize(
    "path",
    ["/executions/{}", "/workflows/1/tasks/{}", "/workflows/1/triggers/{}", "/approvals/{}"],
)
async def test_a_number_that_no_id_has_is_told_the_bounds(rest: Rest, path: str) -> None:
    """It is a number: to say that an id is one would help nobody."""
    for number in ("-1", "9007199254740992"):
        answer = await rest.get(path.format(number))
        assert answer.status == 404
        assert "an id is a whole number from 1 to 9007199254740991" in answer.json()["detail"]


async def test_paths_and_methods_that_do_not_exist(rest: Rest) -> None:
    assert (await rest.get("/nope")).code == "no_such_path"
    assert (await rest.get("/workflows//")).status == 404
    answer = await rest.send("PATCH", "/workflows/1")
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, PUT"
    assert (await rest.get("/workflows/1/execute")).headers["allow"] == "POST"


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "json", ""]
)
async def test_other_content_types_are_415(rest: Rest, content_type: str) -> None:
    answer = await rest.post("/workflows/", {"name": "b"}, content_type=content_type)
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json; charset=UTF-8", "Application/JSON", "application/a+json"])
async def test_all_spellings_of_json_are_read(rest: Rest, content_type: str) -> None:
    assert (await rest.put("/workflows/1", {"name": "b"}, content_type=content_type)).status == 200


async def test_a_payload_beyond_its_limit_is_413(rest: Rest) -> None:
    answer = await rest.post("/workflows/1/execute", {"input": "x" * (1024 * 1024 + 1)})
    assert (answer.status, answer.code) == (413, "too_large")
