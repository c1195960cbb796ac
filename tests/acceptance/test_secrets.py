"""P13: a value goes out to whom it is meant for, and is nowhere else to be found."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from api.app import build
from bootstrap.settings import Settings
from bootstrap.vault import new_key
from bootstrap.wiring import open_service
from engine.secrets import MASK
from tests.acceptance.serving import call_cli, serving
from tests.rest import Rest
from tests.unit.egress.web import Site, raw, site

VALUE = "s3cr3t/+välue=9"
KEY = new_key("k1")


def settings(folder: Path, keys: str = KEY) -> Settings:
    return Settings(database_url=f"sqlite:///{folder}/millrace.db", secret_keys=SecretStr(keys), lease_seconds=0.5)


@pytest.fixture
async def rest(tmp_path: Path) -> AsyncIterator[Rest]:
    async with open_service(settings(tmp_path), engine=True) as service:
        yield Rest(build(service))


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site() as here:
        yield here


async def executed(rest: Rest, *configs: dict[str, Any]) -> Any:
    made = (await rest.post("/workflows", {"name": "w"})).json()["id"]
    for config in configs:
        added = await rest.post(f"/workflows/{made}/tasks", {"name": "t", "type": "http_request", "parameters": config})
        assert added.status == 201, added.body
    return (await rest.post(f"/workflows/{made}/execute?wait=20", {})).json()


async def everything(rest: Rest, execution: int) -> str:
    paths = [f"/executions/{execution}{more}" for more in ("", "/steps", "/events")]
    return "".join([(await rest.get(path)).body.decode() for path in [*paths, "/workflows", "/secrets"]])


def everything_on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def forms(value: str) -> set[str]:
    return {value, base64.b64encode(value.encode()).decode(), json.dumps(value)[1:-1]}


async def test_a_secret_is_sent_and_never_shown(rest: Rest, here: Site, tmp_path: Path) -> None:
    put = await rest.put("/secrets/api_key", {"value": VALUE})
    assert put.status == 200
    assert set(put.json()) == {"name", "key_id", "allowed_hosts", "created_at", "updated_at"}
    config = {
        "url": here.url(),
        "method": "POST",
        "headers": {"Authorization": "Bearer {{secrets.api_key}}"},
        "body": {"data": "{{input}}", "key": "{{secrets.api_key}}"},
        "query": {"k": "{{secrets.api_key}}"},
    }
    with capture_logs() as lines:
        ended = await executed(rest, config)
    assert ended["status"] == "completed", ended
    assert json.loads(here.bodies[0])["key"] == VALUE
    step = ended["tasks"][0]
    assert step["input"]["headers"] == {"Authorization": "Bearer {{secrets.api_key}}"}
    assert MASK in step["output"]["body"]["path"]
    said = await everything(rest, ended["id"]) + json.dumps(lines, default=str)
    kept = everything_on_disk(tmp_path)
    for form in forms(VALUE):
        assert form not in said
        assert form.encode() not in kept


async def test_an_error_does_not_show_it(rest: Rest) -> None:
    await rest.put("/secrets/api_key", {"value": VALUE})
    echo = f"you sent {VALUE}".encode()
    async with raw(b"HTTP/1.1 400 x\r\nContent-Length: %d\r\n\r\n%s" % (len(echo), echo)) as url:
        ended = await executed(rest, {"url": url, "headers": {"X-Key": "{{secrets.api_key}}"}})
    assert ended["status"] == "failed"
    assert VALUE not in await everything(rest, ended["id"])
    assert MASK in ended["error"]["message"] or "cannot be" in ended["error"]["message"]


async def test_a_secret_goes_only_to_its_hosts(rest: Rest, here: Site) -> None:
    await rest.put("/secrets/bound", {"value": "s3cr3t-value", "allowed_hosts": ["localhost"]})
    auth = {"type": "bearer", "token": "{{secrets.bound}}"}
    assert (await executed(rest, {"url": here.url(host="localhost"), "auth": auth}))["status"] == "completed"
    for url in (here.url(), here.url("/hop", host="localhost")):
        here.target = here.url("/elsewhere")
        ended = await executed(rest, {"url": url, "auth": auth})
        assert ended["error"]["type"] == "egress_refused"
        assert "may not be sent to 127.0.0.1" in ended["error"]["message"]
    assert "/elsewhere" not in [path for _, path, _ in here.asked]


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"url": "http://x/{{secrets.api_key}}"}, "/parameters/url"),
        ({"url": "http://x", "headers": {"a": "{{secrets.k}}"}, "method": "{{secrets.k}}"}, "/parameters/method"),
    ],
)
async def test_a_secret_stands_only_where_it_may(rest: Rest, config: dict[str, Any], where: str) -> None:
    made = (await rest.post("/workflows", {"name": "w"})).json()["id"]
    answer = await rest.post(f"/workflows/{made}/tasks", {"name": "t", "type": "http_request", "parameters": config})
    assert (answer.status, answer.pointers) == (422, [where])
    answer = await rest.post(
        f"/workflows/{made}/tasks", {"name": "t", "type": "set", "parameters": {"a": "{{secrets.k}}"}}
    )
    assert (answer.status, answer.pointers) == (422, ["/parameters/a"])
    tried = await rest.post("/nodes/set/test", {"config": {"a": "{{secrets.k}}"}})
    assert (tried.status, tried.pointers) == (422, ["/config/a"])


@pytest.mark.parametrize(
    ("kind", "config", "where"),
    [
        ("llm", {"model": "m", "prompt": "{{secrets.k}}"}, ["/config/prompt"]),
        (
            "llm",
            {"model": "m", "prompt": "p", "apiKey": "{{secrets.k}}", "system": "{{secrets.k}}"},
            ["/config/system"],
        ),
        (
            "sql",
            {"statement": "SELECT 1", "params": {"a": "{{secrets.k}}"}, "connection": "{{secrets.k}}"},
            ["/config/connection"],
        ),
        ("object_store", {"action": "put", "key": "k", "body": "{{secrets.k}}"}, ["/config/body"]),
        ("notify", {"message": "{{secrets.k}}", "headers": {"a": "{{secrets.k}}"}}, ["/config/message"]),
        ("notify", {"message": "m", "data": ["{{secrets.k}}"]}, ["/config/data/0"]),
        ("code", {"code": "x", "input_mapping": {"a": "{{secrets.k}}"}}, ["/config/input_mapping/a"]),
        ("fail", {"message": "{{secrets.k}}"}, ["/config/message"]),
        ("if", {"condition": "{{secrets.k}} == 'a'"}, ["/config/condition"]),
    ],
)
async def test_each_type_says_where_secrets_may_stand(
    rest: Rest, kind: str, config: dict[str, Any], where: list[str]
) -> None:
    answer = await rest.post(f"/nodes/{kind}/test", {"config": config})
    assert (answer.status, list(dict.fromkeys(answer.pointers))) == (422, where)


async def test_a_secret_that_is_not_there_fails_the_task(rest: Rest, here: Site) -> None:
    ended = await executed(rest, {"url": here.url(), "headers": {"X-Key": "{{secrets.none}}"}})
    assert ended["error"]["type"] == "unknown_secret"
    assert here.asked == []


async def test_a_config_is_tried_with_its_secret(rest: Rest, here: Site) -> None:
    await rest.put("/secrets/k", {"value": "s3cr3t-value"})
    config = {"url": here.url(), "query": {"k": "{{secrets.k}}"}}
    tried = await rest.post("/nodes/http_request/test", {"config": config})
    assert here.asked[0][1] == "/?k=s3cr3t-value"
    assert b"s3cr3t-value" not in tried.body
    assert tried.json()["config"]["query"] == {"k": "{{secrets.k}}"}


async def test_crud(rest: Rest) -> None:
    assert (await rest.get("/secrets")).json() == []
    for name in ("b", "a"):
        await rest.put(f"/secrets/{name}", {"value": "value", "allowed_hosts": ["API.example.com"]})
    assert [one["name"] for one in (await rest.get("/secrets/")).json()] == ["a", "b"]
    assert (await rest.get("/secrets/a")).json()["allowed_hosts"] == ["api.example.com"]
    assert (await rest.delete("/secrets/a")).status == 204
    assert (await rest.delete("/secrets/a")).code == "secret_not_found"
    assert (await rest.get("/secrets/a")).code == "secret_not_found"
    for name, body in (
        ("1", {"value": "value"}),
        ("a.b", {"value": "value"}),
        ("a", {"value": "abc"}),
        ("a", {"value": "value", "allowed_hosts": ["https://x"]}),
        ("a", {}),
    ):
        assert (await rest.put(f"/secrets/{name}", body)).status == 422


async def test_keys_are_rotated(tmp_path: Path, here: Site) -> None:
    new = new_key("k2")
    async with open_service(settings(tmp_path), engine=False) as service:
        await Rest(build(service)).put("/secrets/k", {"value": "s3cr3t-value"})
    async with open_service(settings(tmp_path, f"{new},{KEY}"), engine=False) as service:
        rotated = await Rest(build(service)).post("/secrets/actions/rotate")
        assert rotated.json() == {"rotated": 1}
    async with open_service(settings(tmp_path, new), engine=True) as service:
        rest = Rest(build(service))
        assert (await rest.get("/secrets/k")).json()["key_id"] == "k2"
        await executed(rest, {"url": here.url(), "query": {"k": "{{secrets.k}}"}})
    assert here.asked[0][1] == "/?k=s3cr3t-value"
    async with open_service(settings(tmp_path, ""), engine=False) as service:
        assert (await Rest(build(service)).put("/secrets/k", {"value": "other"})).code == "secrets_disabled"


def test_the_command_line(tmp_path: Path) -> None:
    made = call_cli("secret", "key", "k9")
    assert made.out.startswith("k9:")
    with serving(tmp_path, SECRET_KEYS=made.out.strip(), LOG_LEVEL="warning") as served:
        done = served.cli("secret", "set", "api_key", "--host", "api.example.com", stdin="s3cr3t-value\n")
        assert (done.code, "k9" in done.out) == (0, True)
        shown = served.cli("secret", "list")
        assert "api.example.com" in shown.out
        assert "s3cr3t" not in done.out + shown.out + json.dumps(served.rest("GET", "/secrets"))
        assert "1 secrets sealed" in served.cli("secret", "rotate").out
        assert served.cli("secret", "delete", "api_key").code == 0
        assert served.cli("secret", "delete", "api_key").code != 0
        assert served.cli("secret", "set", "short", stdin="abc").code != 0
