"""Inputs written to do harm, sent to one running server: none succeeds, none hangs, none is answered with a 5xx."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.acceptance.serving import Served, serving
from tests.hostile import addresses, bodies, code, grammar, logic, yaml_documents

PATIENCE = 300
"""Seconds after which an answer hangs: a guard, not a measure."""
ADDRESSES = [*addresses.PRIVATE, *addresses.NEVER]
AREAS: dict[str, list[Any]] = {
    "templates": grammar.GRAMMAR,
    "jsonlogic": logic.LOGIC,
    "yaml": list(yaml_documents.HOSTILE),
    "addresses": ADDRESSES,
    "hosts": addresses.HOSTS,
    "urls": addresses.URLS,
    "code": code.BODIES,
    "endless code": code.ENDLESS,
    "bodies": list(bodies.BODIES),
}
INPUT = {
    "n": 2,
    "text": "abc",
    "list": [1, 2, 3],
    "object": {"a": 1},
    "big": "x" * 350_000,
    "same": "x" * 349_999 + "y",
    "many": list(range(40_000)),
    "texts": ["y" * 100] * 500,
    "digits": "9" * 40_000,
    "spaces": " " * 20_000,
    "deep": [],
}
"""Nearly as large as an input may be."""
SMALL = {name: value[:3] if isinstance(value, str | list) else value for name, value in INPUT.items()}
LARGE = (b"big", b"same", b"many", b"texts", b"digits", b"spaces")


class Answer(NamedTuple):
    status: int
    body: Any


class Door:
    """The REST door of a server that lets nobody call private addresses; whatever comes back is no 5xx."""

    def __init__(self, served: Served, canary: "Canary") -> None:
        self._address = urlsplit(served.rest_url).netloc
        self.canary = canary

    def post(self, path: str, body: Any, kind: str = "application/json") -> Answer:
        connection = http.client.HTTPConnection(self._address, timeout=PATIENCE)
        data = body if isinstance(body, bytes) else encoded(body)
        with closing(connection):
            connection.request("POST", path, data, {"Content-Type": kind})
            response = connection.getresponse()
            content = response.read()
        assert response.status < 500, (response.status, content[:500])
        return Answer(response.status, json.loads(content) if content else None)


def encoded(value: Any) -> bytes:
    """JSON at any depth."""
    done: list[str] = []
    todo: list[tuple[str, Any]] = [("", value)]
    while todo:
        text, one = todo.pop()
        done.append(text)
        if isinstance(one, dict | list):
            pairs = (
                [(json.dumps(key) + ":", child) for key, child in one.items()]
                if isinstance(one, dict)
                else [("", child) for child in one]
            )
            opening, closing = "{}" if isinstance(one, dict) else "[]"
            done.append(opening)
            todo.append((closing, ...))
            todo += [(("," if n else "") + before, child) for n, (before, child) in enumerate(pairs)][::-1]
        elif one is not ...:
            done.append(json.dumps(one))
    return "".join(done).encode()


INPUT_JSON = encoded(INPUT)


class Canary:
    """A server of this machine that nobody may reach."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("", 0), family=socket.AF_INET)
        self.port: int = self._socket.getsockname()[1]
        self.calls = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.calls += 1
            connection.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    settings = {"LOG_LEVEL": "error", "EGRESS_ALLOW_PRIVATE": "false"}
    canary = Canary()
    with serving(tmp_path_factory.mktemp("hostile"), **settings) as served:
        yield Door(served, canary)
        assert served.rest("GET", "/health")["ok"]
    canary.close()


def test_there_are_enough() -> None:
    counts = {area: len(table) for area, table in AREAS.items()}
    assert sum(counts.values()) >= 400, counts
    assert min(counts.values()) >= 12, counts
    tested = {
        mark.args[1].area
        for name, test in globals().items()
        if name.startswith("test_hostile")
        for mark in _marks(test)
    }
    assert tested == set(AREAS)


def _marks(test: Any) -> list[Any]:
    return [mark for mark in test.pytestmark if mark.name == "parametrize"]


class Table(list[Any]):
    """The inputs of an area, as parameters."""

    def __init__(self, area: str) -> None:
        super().__init__(pytest.param(one, id=f"{n}") for n, one in enumerate(AREAS[area]))
        self.area = area


def defined(config: Any, when: Any = True) -> dict[str, Any]:
    first = {"id": "a", "type": "set", "config": {"y": [1]}}
    return {"tasks": [first, {"id": "b", "type": "set", "depends_on": ["a"], "config": config, "when": when}]}


def attempted(door: Door, definition: dict[str, Any]) -> Any:
    """Walked through with a large input if it looks at that, then really executed with a small one.

    Answers the walk; None: it was refused.
    """
    written = encoded(definition)
    value = INPUT_JSON if any(name in written for name in LARGE) else encoded(SMALL)
    walked = door.post("/workflows/dry-run", b'{"definition": %b, "input": %b}' % (written, value))
    made = door.post("/workflows/", definition)
    assert (made.status == 201) == (walked.status == 200), made.body
    if made.status != 201:
        assert {walked.status, made.status} <= {413, 422}
        return None
    ended = door.post(f"/workflows/{made.body['id']}/execute?wait=60", {"input": SMALL})
    assert ended.body["status"] in {"failed", "completed"}, ended.body
    assert all(len(json.dumps(run["output"])) < 100_000 for run in ended.body["tasks"])
    return walked.body


@pytest.mark.parametrize("text", Table("templates"))
def test_hostile_template(door: Door, text: str) -> None:
    walked = attempted(door, defined({"x": "{{" + text + "}}"}))
    assert walked is None or walked["status"] == "failed", walked


@pytest.mark.parametrize("rule", Table("jsonlogic"))
def test_hostile_rule(door: Door, rule: Any) -> None:
    """As the condition of a branch: one that is evaluated within its budget says yes or no, and nothing else."""
    cases = [{"label": "yes", "condition": rule if isinstance(rule, dict) else {"!": [rule]}}, {"else": True}]
    branch = {"id": "b", "type": "branch", "depends_on": ["a"], "config": {"cases": cases}}
    walked = attempted(door, {"tasks": [defined({})["tasks"][0], branch]})
    if walked is not None and walked["status"] != "failed":
        assert walked["output"] in ({"b": {"label": "yes", "case": 1}}, {"b": {"label": "else", "case": 2}})


@pytest.mark.parametrize("name", Table("yaml"))
def test_hostile_yaml(door: Door, name: str) -> None:
    data = yaml_documents.HOSTILE[name][0]
    assert door.post("/workflows/", data, "application/yaml").status in {413, 422}
    report = door.post("/workflows/validate", data, "application/yaml")
    assert report.status in {413, 422} or not report.body["valid"]
    assert door.post("/workflows/dry-run", data, "application/yaml").status in {413, 422}


@pytest.mark.parametrize("name", Table("bodies"))
def test_hostile_body(door: Door, name: str) -> None:
    data = bodies.BODIES[name]
    for path in ("/workflows/", "/actions", "/workflows/dry-run", "/nodes/set/test", "/workflows/1/execute"):
        answer = door.post(path, data)
        assert answer.status in {404, 413, 422}, (path, answer)


def unreached(door: Door, url: str) -> None:
    tried = door.post("/nodes/http_request/test", {"config": {"url": url, "timeout": 5}, "timeout": 10})
    assert tried.status == 422 or tried.body["error"]["type"] in {"egress_refused", "connection"}, tried.body
    assert door.canary.calls == 0


@pytest.mark.parametrize("address", Table("addresses"))
def test_hostile_address(door: Door, address: str) -> None:
    host = f"[{address.replace('%', '%25')}]" if ":" in address else address
    unreached(door, f"http://{host}:{door.canary.port}/")


@pytest.mark.parametrize("host", Table("hosts"))
def test_hostile_host(door: Door, host: str) -> None:
    unreached(door, f"http://{host}:{door.canary.port}/")


@pytest.mark.parametrize("url", Table("urls"))
def test_hostile_url(door: Door, url: str) -> None:
    unreached(door, url)


def failing(door: Door, body: str) -> str:
    config = {"code": f"def process():\n  {body}", "timeout": 0.5, "memory_mb": 32}
    tried = door.post("/nodes/code/test", {"config": config, "timeout": 30})
    assert tried.body["status"] == "failed", tried.body
    kind: str = tried.body["error"]["type"]
    return kind


@pytest.mark.parametrize("body", Table("code"))
def test_hostile_code(door: Door, body: str) -> None:
    assert failing(door, body) in {"code_error", "code_not_supported", "bad_output"}


@pytest.mark.parametrize("body", Table("endless code"))
def test_hostile_endless_code(door: Door, body: str) -> None:
    assert failing(door, body) in {"timeout", "code_memory", "code_error", "bad_output", "output_too_large"}


def test_the_canary_sings(door: Door) -> None:
    """What shows that nobody was called can show that somebody was."""
    with socket.create_connection(("127.0.0.1", door.canary.port), timeout=PATIENCE) as connection:
        assert connection.recv(1) == b""
    assert door.canary.calls == 1
