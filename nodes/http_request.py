"""`http_request`: one call through the guarded client, with the task's idempotency key."""

import base64
from typing import Annotated, Any, ClassVar, Literal, assert_never
from urllib.parse import urlencode

import msgspec

from egress.client import MAX_BODY, Answer, EgressError, shown
from engine.documents import decode_json
from engine.errors import MillraceError, TaskError
from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import SECRETS, NodeContext, Shape

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Status = Annotated[int, msgspec.Meta(ge=100, le=599)]


Scalar = str | int | float | bool | None


class Basic(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="basic"):
    """User and password."""

    username: str
    password: str = ""


class Bearer(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="bearer"):
    """A token."""

    token: Annotated[str, msgspec.Meta(min_length=1)]


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """`body` is sent as JSON unless it is a string, `form` as a form; `expected_status` empty means any 2xx.

    Answers of 408, 425, 429 and 5xx are retryable unless `retry_on_status` names others; other surprises are not.
    A 2xx that it names is a surprise too: 202 waits for what is not done yet.
    """

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]
    method: Method = "GET"
    headers: Annotated[dict[str, str], SECRETS] = {}
    query: Annotated[dict[str, Scalar], SECRETS] = {}
    auth: Annotated[Basic | Bearer | None, SECRETS] = None
    body: Annotated[Any, SECRETS] = None
    form: Annotated[dict[str, Scalar] | None, SECRETS] = None
    expected_status: tuple[Status, ...] = ()
    retry_on_status: tuple[Status, ...] = (408, 425, 429, 500, 502, 503, 504)
    timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 30.0

    def __post_init__(self) -> None:
        if self.body is not None and self.form is not None:
            raise ValueError("a request has a body or a form, not both")
        if self.auth is not None and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("auth and a header Authorization say the same thing twice")


class HttpRequest:
    """Calls a web service. Every attempt of a task sends the same Idempotency-Key.

    Output: `{"status", "headers", "body"}`; a JSON answer is decoded strictly, other text stays text."""

    type: ClassVar[str] = "http_request"
    aliases: ClassVar[tuple[str, ...]] = ("http_call", "http")
    spellings: ClassVar[dict[str, str]] = {"payload": "body", "json": "body", "params": "query"}
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    async def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        headers = dict(config.headers)
        _default(headers, "Idempotency-Key", call.idempotency_key)
        if config.auth is not None:
            headers["Authorization"] = _authorization(config.auth)
        body = _encode(config.body, headers) if config.form is None else _encode_form(config.form, headers)
        try:
            answer: Answer = await context.http.request(
                config.method,
                config.url,
                headers=headers,
                query=_texts(config.query),
                body=body,
                timeout=config.timeout,
            )
        except EgressError as error:
            raise TaskError(str(error), type=error.type, retryable=error.retryable) from None
        if not _expected(answer.status, config):
            message = f"{config.method} {shown(config.url)} answered {answer.status}: {answer.text()[:200]}"
            raise TaskError(message, type="http_status", retryable=answer.status in config.retry_on_status)
        return Completed({"status": answer.status, "headers": answer.headers, "body": _decode(answer)})


def _default(headers: dict[str, str], name: str, value: str) -> None:
    if not any(given.lower() == name.lower() for given in headers):
        headers[name] = value


def _authorization(auth: Basic | Bearer) -> str:
    match auth:
        case Basic(username=username, password=password):
            if ":" in username:
                message = "auth: a user name of basic authentication has no colon"
                raise TaskError(message, type="invalid_config", retryable=False)
            return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
        case Bearer(token=token):
            return f"Bearer {token}"
        case _:
            assert_never(auth)


def _encode_form(form: dict[str, Scalar], headers: dict[str, str]) -> bytes:
    _default(headers, "Content-Type", "application/x-www-form-urlencoded")
    return urlencode(_texts(form)).encode()


def _encode(body: Any, headers: dict[str, str]) -> bytes | None:
    """JSON with its content type, unless the body is text or the type is given."""
    if body is None or isinstance(body, str):
        return None if body is None else body.encode()
    _default(headers, "Content-Type", "application/json")
    return msgspec.json.encode(body)


def _decode(answer: Answer) -> Any:
    if not answer.content:
        return None
    if answer.content_type == "application/json" or answer.content_type.endswith("+json"):
        try:
            return decode_json(answer.content, max_bytes=MAX_BODY)
        except MillraceError as error:
            raise TaskError(f"the answer is not acceptable JSON: {error}", type="bad_answer") from None
    return answer.text().replace("\0", "\ufffd")


def _expected(status: int, config: Config) -> bool:
    if config.expected_status:
        return status in config.expected_status
    return 200 <= status < 300 and status not in config.retry_on_status


def _texts(values: dict[str, Scalar]) -> dict[str, str]:
    """Without those that are null."""
    given = {name: value for name, value in values.items() if value is not None}
    return {name: v if isinstance(v, str) else msgspec.json.encode(v).decode() for name, v in given.items()}


handler = HttpRequest()
