"""A dry run opens no secret, names the missing ones, and calls nobody: over REST and on the command line."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from pydantic import SecretStr

from api.app import build
from bootstrap.settings import Settings
from bootstrap.vault import new_key
from bootstrap.wiring import open_service
from tests.acceptance.serving import call_cli
from tests.rest import Rest
from tests.unit.egress.web import Site, site

VALUE = 's3cr3t/+välue="9"'
KEY = "{{secrets.key}}"
RAW = VALUE.encode()
FORMS = {
    VALUE,
    RAW.decode("latin-1"),
    base64.b64encode(RAW).decode(),
    base64.urlsafe_b64encode(RAW).decode().rstrip("="),
    base64.b64encode(b"ana:" + RAW).decode(),
    quote(VALUE, safe=""),
    quote_plus(VALUE),
    json.dumps(VALUE)[1:-1],
    json.dumps(VALUE, ensure_ascii=False)[1:-1],
}
SEALED = "\\u0000secret"
"""How a rendered reference looks as JSON: not for a reader either."""


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site() as here:
        yield here


@pytest.fixture(params=["sqlite", "postgresql"])
async def rest(request: pytest.FixtureRequest, here: Site) -> AsyncIterator[Rest]:
    url = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "migrated_postgres_url")
    settings = Settings(
        database_url=url,
        secret_keys=SecretStr(new_key("k1")),
        connections=connections(here),
        lease_seconds=0.5,
    )
    async with open_service(settings, engine=True) as service:
        rest = Rest(build(service))
        assert (await rest.put("/secrets/key", {"value": VALUE})).status == 200
        yield rest


def connections(here: Site) -> Any:
    return {
        "models": {"kind": "llm", "base_url": here.url("/v1")},
        "hook": {"kind": "webhook", "url": here.url("/hook")},
    }


def definition(here: Site) -> dict[str, Any]:
    """Secrets wherever they may stand; every task would do something outside, and so would what undoes it."""
    call = {"url": here.url("/call"), "headers": {"X-Key": f"Bearer {KEY}"}}
    configs: dict[str, tuple[str, dict[str, Any]]] = {
        "header": ("http_request", call),
        "basic": ("http_request", {**call, "auth": {"type": "basic", "username": "ana", "password": KEY}}),
        "body": (
            "http_request",
            {**call, "method": "POST", "body": {"k": [KEY], "{{input.n}}": 1}, "query": {"k": KEY}},
        ),
        "form": ("http_request", {"url": here.url(), "method": "POST", "form": {"k": KEY}}),
        "half_open": ("http_request", {**call, "body": {"k": KEY, "seen": f"{{{{header.output}}}} {KEY}"}}),
        "bad": ("http_request", {**call, "method": "{{input.method}}"}),
        "model": ("llm", {"model": "m", "prompt": "p", "connection": "models", "api_key": KEY}),
        "notice": ("send_notification", {"message": "m", "channels": "hook", "headers": {"X-Key": KEY}}),
        "event": ("publish_event", {"event": "told", "payload": {"n": 1}}),
        "child": ("sub_workflow", {"workflow": "other", "input": {}}),
        "items": ("map", {"items": [1, 2], "task": {"type": "http_request", "config": call}}),
        "again": ("loop", {"until": "{{round}} == 2", "task": {"type": "http_request", "config": call}}),
        "program": ("code", {"code": "def process():\n    return 1"}),
    }
    tasks = [
        {"id": key, "type": kind, "config": config, "on_error": "continue"} for key, (kind, config) in configs.items()
    ]
    tasks[-2]["depends_on"] = ["header"]
    tasks[4]["depends_on"] = ["header"]
    tasks[0]["compensate"] = {"type": "http_request", "config": {**call, "body": "{{error.message}}"}}
    undone = {"id": "end", "type": "fail", "depends_on": list(configs), "config": {"message": "no"}}
    return {"name": "w", "tasks": [*tasks, undone]}


INPUT = {"n": "a", "method": "{{secrets.key}}"}


def hides(text: str) -> None:
    assert not [form for form in FORMS if form in text]
    assert SEALED not in text
    assert "\0secret" not in text


@pytest.mark.parametrize("mocks", [{}, {"header": {"output": {"status": 200}}, "basic": {"error": "x"}}])
async def test_no_value_is_in_the_answer_and_nobody_is_called(rest: Rest, here: Site, mocks: Any) -> None:
    other = {"key": "other", "triggers": [{"event": "told"}], "tasks": [{"id": "t", "type": "noop"}]}
    assert (await rest.post("/workflows/", other)).status == 201
    body = {"definition": definition(here), "input": INPUT, "mocks": mocks}
    answer = await rest.post("/workflows/dry-run", body)
    assert answer.status == 200, answer.body
    done = answer.json()
    hides(answer.body.decode())
    hides(json.dumps(done, ensure_ascii=False))
    steps = {step["task"]: step for step in done["steps"]}
    assert steps["header"]["config"]["headers"] == {"X-Key": f"Bearer {KEY}"}
    assert steps["half_open"]["config"]["body"]["k"] == KEY
    assert steps["bad"]["error"]["type"] == "invalid_config"
    assert "header~compensate" in steps, "it fails, and what was done is undone"
    assert done["secrets"] == ["key"]
    assert [one for one in done["warnings"] if one["code"] == "unknown_secret"] == []
    assert here.asked == []
    assert (await rest.get("/executions")).json()["items"] == []
    assert (await rest.get("/events/1")).code == "event_not_found"


async def test_each_secret_that_is_missing_is_a_finding_wherever_it_is_needed(rest: Rest, here: Site) -> None:
    """On a way that is not taken, inside a map, and in what undoes something, too."""

    def call(name: str) -> dict[str, Any]:
        return {"type": "http_request", "config": {"url": here.url(), "headers": {"X": f"{{{{secrets.{name}}}}}"}}}

    inside = {"type": "map", "config": {"items": [1], "task": call("in_map")}}
    tasks = [
        {"id": "a", **call("key")},
        {"id": "b", **call("not_taken"), "when": False},
        {"id": "c", **inside},
        {"id": "d", "type": "set", "compensate": call("undoing")},
    ]
    made = await rest.post("/workflows/", {"key": "stored", "tasks": tasks})
    assert made.status == 201, made.body
    for what in ({"definition": {"tasks": tasks}}, {"workflow": "stored"}):
        done = (await rest.post("/workflows/dry-run", what)).json()
        assert done["secrets"] == ["in_map", "key", "not_taken", "undoing"]
        told = {one["pointer"]: one for one in done["warnings"] if one["code"] == "unknown_secret"}
        assert [*told] == ["/secrets/in_map", "/secrets/not_taken", "/secrets/undoing"]
        assert "PUT /secrets/in_map" in told["/secrets/in_map"]["message"]
    await rest.put("/secrets/in_map", {"value": VALUE})
    done = (await rest.post("/workflows/dry-run", {"workflow": "stored"})).json()
    assert "/secrets/in_map" not in [one["pointer"] for one in done["warnings"]]
    assert here.asked == []


async def test_the_command_line_calls_nobody_and_names_what_is_needed(here: Site, tmp_path: Path) -> None:
    file, cases = tmp_path / "w.json", tmp_path / "cases.json"
    file.write_text(json.dumps(definition(here)))
    case = {"name": "fails", "input": INPUT, "expect": {"status": "failed", "path": []}}
    cases.write_text(json.dumps([case]))
    settings = {"CONNECTIONS": json.dumps(connections(here)), "SECRET_KEYS": new_key("k1")}
    words = ("dry-run", str(file), "--input", json.dumps(INPUT))
    shown, as_json = call_cli(*words, **settings), call_cli(*words, "--json", **settings)
    assert (shown.code, as_json.code) == (1, 1), shown
    assert "needs the secrets: key; only a server knows whether it has them" in shown.out
    assert json.loads(as_json.out)["secrets"] == ["key"]
    tested = [call_cli("test", str(file), str(cases), *more, **settings) for more in ((), ("--json",))]
    assert [done.code for done in tested] == [1, 1]
    for done in (shown, as_json, *tested):
        hides(done.out + done.err)
    assert here.asked == []
