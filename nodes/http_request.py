"""`http_request`: one call through the guarded client, with the task's idempotency key."""

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from egress.client import MAX_BODY, Answer, EgressError, shown
from engine.documents import decode_json
from engine.errors import MillraceError, TaskError
from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import NodeContext, Shape

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Status = Annotated[int, msgspec.Meta(ge=100, le=599)]


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """`body` is sent as JSON unless it is a string; `expected_status` empty means any 2xx.

    Answers of 408, 425, 429 and 5xx are retryable unless `retry_on_status` names others; other surprises are not.
    """

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]
    method: Method = "GET"
    headers: dict[str, str] = {}
    query: dict[str, str | int | float | bool | None] = {}
    body: Any = None
    expected_status: tuple[Status, ...] = ()
    retry_on_status: tuple[Status, ...] = (408, 425, 429, 500, 502, 503, 504)
    timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 30.0


class HttpRequest:
    """Output: `{"status", "headers", "body"}`; a JSON answer is decoded strictly, other text stays text."""

    type: ClassVar[str] = "http_request"
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    async def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        headers = dict(config.headers)
        _default(headers, "Idempotency-Key", call.idempotency_key)
        query = {key: _text(value) for key, value in config.query.items() if value is not None}
        body = _encode(config.body, headers)
        try:
            answer: Answer = await context.http.request(
                config.method, config.url, headers=headers, query=query, body=body, timeout=config.timeout
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
    return status in config.expected_status if config.expected_status else 200 <= status < 300


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


handler = HttpRequest()
