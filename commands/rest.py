"""Calls of the REST door."""

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from commands.environment import rest_url
from commands.failure import CommandError, one_line

TIMEOUT = 30.0


def call(method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[Any, Mapping[str, str]]:
    """The JSON of the answer (None if it has none) and its headers. Raises `CommandError`."""
    data = None if body is None else json.dumps(body).encode()
    status, headers, content = _exchange(method, path, data, "application/json")
    if status >= 400:
        raise CommandError(_problem(status, content))
    return _json(content), headers


def send(method: str, path: str, document: bytes, kind: str) -> Any:
    """Sends a document of media type `kind`; answers JSON. Raises `CommandError`."""
    status, _, content = _exchange(method, path, document, kind)
    if status >= 400:
        raise CommandError(_problem(status, content))
    return _json(content)


def find(path: str) -> Any:
    """The JSON at `path`, None if there is nothing. Raises `CommandError` for every other refusal."""
    status, _, content = _exchange("GET", path)
    if status == 404:
        return None
    if status >= 400:
        raise CommandError(_problem(status, content))
    return _json(content)


def text(path: str) -> str:
    """The answer as it is. Raises `CommandError`."""
    status, _, content = _exchange("GET", path)
    if status >= 400:
        raise CommandError(_problem(status, content))
    return content.decode()


def _exchange(method: str, path: str, data: bytes | None = None, kind: str = "") -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, and body of the answer."""
    base = rest_url()
    connection = _connection(base)
    headers = {"Accept": "application/json, application/yaml"} | ({"Content-Type": kind} if data else {})
    try:
        connection.request(method, urlsplit(base).path + path, data, headers)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise CommandError(
            f"no answer from {base} ({error}); is the server up (python cli.py serve), and REST_API_URL right?"
        ) from None
    finally:
        connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, content


def segment(ref: str) -> str:
    """An id or key as one segment of a path."""
    return quote(ref, safe="")


def query(**parameters: Any) -> str:
    """`?a=1&b=2` of those that are not None."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _connection(base: str) -> http.client.HTTPConnection:
    """Straight to the server: a proxy of the environment is not for it."""
    url = urlsplit(base)
    try:
        address = (url.hostname, url.port)
    except ValueError:
        address = (None, None)
    if url.scheme not in {"http", "https"} or not address[0]:
        raise CommandError(f"REST_API_URL is {base!r}; write it like http://127.0.0.1:8000")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    return kind(address[0], address[1], timeout=TIMEOUT)


def _problem(status: int, content: bytes) -> str:
    """The line of an answer with problem details (RFC 9457)."""
    try:
        problem = _json(content)
    except CommandError:
        problem = None
    if not isinstance(problem, dict):
        return f"the server answered {status}"
    detail = problem.get("detail") or problem.get("title") or f"the server answered {status}"
    faults = [fault for fault in problem.get("errors") or () if isinstance(fault, dict)]
    lines = [str(fault.get("detail") or fault.get("message") or "") for fault in faults]
    message = "; ".join([str(detail), *(line for line in lines if line and line not in str(detail))])
    return one_line(message, [str(fault.get("pointer") or "") for fault in faults])


def _json(content: bytes) -> Any:
    if not content:
        return None
    try:
        return json.loads(content)
    except ValueError:
        raise CommandError(f"{rest_url()} does not answer in JSON; is REST_API_URL right?") from None
