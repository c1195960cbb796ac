"""Mistakes that everybody makes: each is answered with what, where, and what to do, in words for people."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.app import build
from bootstrap.settings import Settings
from bootstrap.wiring import open_service
from tests.rest import Rest


@pytest.fixture
async def rest(tmp_path: Path) -> AsyncIterator[Rest]:
    async with open_service(Settings(database_url=f"sqlite:///{tmp_path}/millrace.db"), engine=True) as service:
        yield Rest(build(service))


@pytest.mark.parametrize(
    ("path", "body", "pointer", "message"),
    [
        ("/workflows", {"name": "x", "stpes": {}}, "/stpes", "there is no field 'stpes', did you mean 'steps'?"),
        ("/workflows", {"name": "x", "nmae": 1}, "/nmae", "there is no field 'nmae', did you mean 'name'?"),
        ("/workflows", {}, "/name", "this is required"),
        ("/workflows", b"", "", "send a body, as application/json"),
        (
            "/workflows",
            {"name": "x", "key": "my key"},
            "/key",
            "a key has letters, digits, '_', '-' and '.', not digits alone",
        ),
        ("/actions", {"name": "a b", "handler_type": "noop"}, "/name", "letters, digits"),
        ("/workflows/dry-run", {"definition": {}, "inputs": {}}, "/inputs", "did you mean 'input'?"),
        ("/nodes/set/test", [], "", "must be an object"),
        ("/nodes/set/test", {"confg": {}}, "/confg", "did you mean 'config'?"),
        ("/nodes/http/test", {"config": {"url": "http://x", "method": "GETT"}}, "/config/method", "mean 'GET'?"),
        (
            "/nodes/http/test",
            {"config": {"url": "http://x", "auth": {"type": "d"}}},
            "/config/auth/type",
            "basic, bearer",
        ),
        (
            "/nodes/approval/test",
            {"config": {"require_comment": "no"}},
            "/config/require_comment",
            "false, on_reject, true",
        ),
    ],
)
async def test_a_mistake_is_named(rest: Rest, path: str, body: Any, pointer: str, message: str) -> None:
    answer = await rest.post(path, body)
    assert answer.status == 422, answer.body
    (fault,) = answer.json()["errors"]
    assert (fault["pointer"], message in fault["message"]) == (pointer, True), fault


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("htpp_call", "did you mean 'http_call'?"), ("swich", "did you mean 'switch'?"), ("zzz", "GET /nodes lists them")],
)
async def test_other_names_of_a_type_are_suggested_too(rest: Rest, kind: str, hint: str) -> None:
    report = await rest.post("/workflows/validate", {"nodes": [{"id": "a", "type": kind}]})
    (fault,) = report.json()["errors"]
    assert hint in fault["message"]
    assert fault["pointer"] == "/nodes/0/type"
    assert hint in (await rest.post(f"/nodes/{kind}/test", {})).json()["detail"]
