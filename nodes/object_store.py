"""`object_store`: puts, gets, lists and deletes objects in S3 and what is compatible with it."""

import base64
import time
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, assert_never
from urllib.parse import urlsplit
from xml.etree import ElementTree

import msgspec

from egress.client import MAX_BODY, Answer, EgressError
from egress.sigv4 import Credentials, encoded, query_string, sign
from engine.connections import Connection
from engine.documents import decode_json
from engine.errors import MillraceError, TaskError
from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import NodeContext, Shape

Bucket = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
PAGE = 1000
"""Objects in one answer of the server, at the most."""


class Server(msgspec.Struct, forbid_unknown_fields=True):
    """`bucket` is used when a task names none; with `buckets`, tasks may name no others."""

    access_key: str
    secret_key: str
    endpoint: Annotated[str, msgspec.Meta(pattern="^https?://")] | None = None
    region: str = "us-east-1"
    session_token: str | None = None
    bucket: Bucket | None = None
    buckets: tuple[Bucket, ...] = ()
    path_style: bool = True


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """`put` takes `body` (JSON unless it is a string) or `body_base64`; `get` answers in `format`."""

    action: Literal["put", "get", "list", "delete"]
    key: Key | None = None
    bucket: Bucket | None = None
    body: Any = None
    body_base64: str | None = None
    content_type: str | None = None
    format: Literal["auto", "text", "json", "base64"] = "auto"
    prefix: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    max_keys: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = PAGE
    connection: str | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0

    def __post_init__(self) -> None:
        if (self.action == "list") != (self.key is None):
            raise ValueError("put, get and delete need a key; list has a prefix instead")
        if self.key is not None and any(part in (".", "..") for part in self.key.split("/")):
            raise ValueError("key: '.' and '..' between slashes do not survive the way to the server")
        if self.action == "put" and self.body is not None and self.body_base64 is not None:
            raise ValueError("say either body or body_base64")


class _Request(NamedTuple):
    """What all requests of one task have in common."""

    server: Server
    bucket: str
    config: Config
    context: NodeContext

    async def send(
        self,
        method: str,
        key: str = "",
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        server = self.server
        url = _base(server, self.bucket) + encoded(key, "/") + (f"?{query_string(query)}" if query else "")
        who = Credentials(server.access_key, server.secret_key, server.region, server.session_token)
        headers = sign(method, url, headers or {}, body, who, time.time())
        try:
            answer: Answer = await self.context.http.request(
                method, url, headers=headers, query={}, body=body or None, timeout=self.config.timeout, signed=True
            )
        except EgressError as error:
            raise TaskError(str(error), type=error.type, retryable=error.retryable) from None
        if not 200 <= answer.status < 300:
            raise _refusal(answer, method, self.bucket, key)
        return answer


class ObjectStore:
    """Puts, gets, lists and deletes objects.

    Output of put: `{"bucket", "key", "bytes", "etag"}`; of get the same with `body` and `content_type`; of list
    `{"bucket", "objects": [{"key", "bytes", "etag", "modified"}], "truncated"}`; of delete `{"bucket", "key"}`.
    """

    type: ClassVar[str] = "object_store"
    aliases: ClassVar[tuple[str, ...]] = ("s3",)
    spellings: ClassVar[dict[str, str]] = {"operation": "action"}
    connections: ClassVar[dict[str, Shape]] = {"s3": Server}
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    async def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        connection: Connection = context.connections.get("s3", config.connection)
        request = _Request(connection.server, _bucket(connection, config), config, context)
        return Completed({"bucket": request.bucket, **await _act(request, config.key or "")})


async def _act(request: _Request, key: str) -> dict[str, Any]:
    match request.config.action:
        case "put":
            return await _put(request, key)
        case "get":
            return await _get(request, key)
        case "list":
            return await _list(request)
        case "delete":
            await request.send("DELETE", key)
            return {"key": key}
        case _:
            assert_never(request.config.action)


def _bucket(connection: Connection, config: Config) -> str:
    server: Server = connection.server
    bucket = config.bucket or server.bucket
    if bucket is None:
        raise TaskError("say which bucket; the connection has none", type="invalid_config", retryable=False)
    if server.buckets and bucket not in (*server.buckets, server.bucket):
        message = f"{connection.name} may not use the bucket {bucket!r}; it may use {', '.join(server.buckets)}"
        raise TaskError(message, type="bucket_not_allowed", retryable=False)
    return bucket


def _base(server: Server, bucket: str) -> str:
    endpoint = (server.endpoint or f"https://s3.{server.region}.amazonaws.com").rstrip("/")
    if server.path_style:
        return f"{endpoint}/{bucket}/"
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{bucket}.{parts.netloc}{parts.path}/"


async def _put(request: _Request, key: str) -> dict[str, Any]:
    body, kind = _body(request.config)
    answer = await request.send("PUT", key, headers={"Content-Type": kind}, body=body)
    return {"key": key, "bytes": len(body), "etag": answer.headers.get("etag", "").strip('"')}


def _body(config: Config) -> tuple[bytes, str]:
    if config.body_base64 is not None:
        try:
            return base64.b64decode(
                config.body_base64, validate=True
            ), config.content_type or "application/octet-stream"
        except ValueError:
            raise TaskError("body_base64 is not base64", type="invalid_config", retryable=False) from None
    if isinstance(config.body, str):
        return config.body.encode(), config.content_type or "text/plain; charset=utf-8"
    return msgspec.json.encode(config.body), config.content_type or "application/json"


async def _get(request: _Request, key: str) -> dict[str, Any]:
    answer = await request.send("GET", key)
    return {
        "key": key,
        "bytes": len(answer.content),
        "etag": answer.headers.get("etag", "").strip('"'),
        "content_type": answer.headers.get("content-type"),
        "body": _decoded(answer, request.config.format),
    }


def _decoded(answer: Answer, wanted: str) -> Any:
    is_json = answer.content_type == "application/json" or answer.content_type.endswith("+json")
    if wanted == "json" or (wanted == "auto" and is_json):
        try:
            return decode_json(answer.content, max_bytes=MAX_BODY)
        except MillraceError as error:
            raise TaskError(f"the object is not acceptable JSON: {error}", type="bad_answer", retryable=False) from None
    if wanted == "base64":
        return base64.b64encode(answer.content).decode()
    try:
        text = answer.content.decode() if wanted == "auto" else answer.text()
    except UnicodeDecodeError:
        return base64.b64encode(answer.content).decode()
    return text.replace("\0", "\ufffd")


async def _list(request: _Request) -> dict[str, Any]:
    objects: list[dict[str, Any]] = []
    token: str | None = None
    while True:
        page = min(PAGE, request.config.max_keys - len(objects))
        query = {"list-type": "2", "max-keys": str(page), "prefix": request.config.prefix}
        answer = await request.send("GET", query=query | ({"continuation-token": token} if token else {}))
        root = _xml(answer)
        objects += _objects(root)
        token = _text(root, "NextContinuationToken") or None
        if token is None or len(objects) >= request.config.max_keys:
            return {"objects": objects, "truncated": token is not None}


def _objects(root: ElementTree.Element) -> Iterator[dict[str, Any]]:
    for item in root.iterfind("{*}Contents"):
        yield {
            "key": _text(item, "Key"),
            "bytes": int(_text(item, "Size") or 0),
            "etag": _text(item, "ETag").strip('"'),
            "modified": _text(item, "LastModified"),
        }


def _xml(answer: Answer) -> ElementTree.Element:
    """Without a document type, in which entities would be declared."""
    if b"<!" in answer.content:
        raise TaskError("the server's answer is not plain XML", type="bad_answer")
    try:
        return ElementTree.fromstring(answer.content)  # noqa: S314 — it declares nothing
    except ElementTree.ParseError as error:
        raise TaskError(f"the server's answer is not XML: {error}", type="bad_answer") from None


def _text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""


def _refusal(answer: Answer, method: str, bucket: str, key: str) -> TaskError:
    try:
        root = _xml(answer) if answer.content else None
    except TaskError:
        root = None
    code = (_text(root, "Code") if root is not None else "") or f"status {answer.status}"
    said = _text(root, "Message") if root is not None else ""
    message = f"{method} {bucket}/{key}: {code} {said[:200]}".rstrip()
    retryable = answer.status >= 500 or answer.status in (408, 409, 429)
    return TaskError(message, type="not_found" if answer.status == 404 else "object_store", retryable=retryable)


handler = ObjectStore()
