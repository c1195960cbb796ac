"""`llm`: asks a language model, over the protocol that OpenAI began and many servers speak."""

import math
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec

from egress.client import MAX_BODY, Answer, EgressError, merged
from engine import limits
from engine.connections import Connection
from engine.documents import decode_json
from engine.errors import Invalid, MillraceError, TaskError
from engine.model import Ask, AwaitSignal, Budget, Completed, Outcome, TaskCall, Usage
from engine.schemas import compile_schema
from engine.task_ports import SECRETS, NodeContext, Shape
from engine.verdicts import KIND, more_budget

Price = Annotated[float, msgspec.Meta(ge=0)]
BYTES_OF_TOKEN = 4
"""About; how a text falls into tokens only its model knows."""
Text = Annotated[str, msgspec.Meta(max_length=limits.PAYLOAD)]


class ModelPrice(msgspec.Struct, forbid_unknown_fields=True):
    """Per million tokens, in whatever currency the operator counts."""

    input: Price
    output: Price


class Server(msgspec.Struct, forbid_unknown_fields=True):
    """`base_url` ends before `/chat/completions`. With `models`, workflows may ask no others."""

    base_url: Annotated[str, msgspec.Meta(pattern="^https?://")]
    api_key: str | None = None
    headers: dict[str, str] = {}
    models: tuple[str, ...] = ()
    prices: dict[str, ModelPrice] = {}
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


class Message(msgspec.Struct):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[dict[str, Any]]


class Config(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A `prompt`, or `messages`; `system` stands before either. `json_schema` asks for JSON and checks the answer.

    `api_key` and `headers` go before those of the connection. `budget` is for one call: what it would take is guessed
    from the length of its text and from `max_tokens`.
    """

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.NAME)]
    prompt: Text | None = None
    messages: tuple[Message, ...] = ()
    system: Text | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] | None = None
    response_format: Literal["text", "json"] = "text"
    json_schema: dict[str, Any] | None = None
    connection: str | None = None
    api_key: Annotated[str | None, SECRETS] = None
    headers: Annotated[dict[str, str], SECRETS] = {}
    budget: Budget | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 120.0

    def __post_init__(self) -> None:
        if (self.prompt is None) == (not self.messages):
            raise ValueError("say either prompt or messages")
        if self.budget is not None and self.budget.on_exceeded != "fail":
            raise ValueError("budget: only that of the workflow can ask for more")
        if self.json_schema is not None:
            try:
                compile_schema(self.json_schema)
            except Invalid as error:
                raise ValueError(f"json_schema: {error.message}") from None


class _ReplyMessage(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _ReplyMessage
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    completion_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0


class _Reply(msgspec.Struct):
    choices: Annotated[tuple[_Choice, ...], msgspec.Meta(min_length=1)]
    model: str | None = None
    usage: _Usage | None = None


class _Said(NamedTuple):
    text: str
    finish_reason: str | None
    model: str
    usage: Usage | None


class Llm:
    """Asks a language model.

    Output: `{"text", "json", "model", "finish_reason", "usage": {"input_tokens", "output_tokens", "total_tokens",
    "cost"}}`. If the text is a JSON object, its fields stand beside these; `cost` is null for a model without a price.
    """

    type: ClassVar[str] = "llm"
    spellings: ClassVar[dict[str, str]] = {"output_schema": "json_schema", "system_prompt": "system"}
    connections: ClassVar[dict[str, Shape]] = {"llm": Server}
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    async def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        connection: Connection = context.connections.get("llm", config.connection)
        server: Server = connection.server
        if server.models and config.model not in server.models:
            message = f"{connection.name} has no model {config.model!r}; it has {', '.join(server.models)}"
            raise TaskError(message, type="unknown_model", retryable=False)
        for budget, whose in ((config.budget, "the task"), (call.budget, "the execution")):
            if budget is not None and (wait := _kept(budget, whose, config, server)) is not None:
                return wait
        said = await _ask(server, config, call.idempotency_key, context)
        wanted = config.json_schema is not None or config.response_format == "json"
        value = _json_of(said.text, wanted=wanted)
        if wanted:
            _check(value, said, config)
        fields = value if isinstance(value, dict) else {}
        answer = {"text": said.text, "json": None if value is _NO_JSON else value, "model": said.model}
        answer |= {"finish_reason": said.finish_reason, "usage": _told(said.usage)}
        return Completed({**fields, **answer}, usage=said.usage)


def _kept(budget: Budget, whose: str, config: Config, server: Server) -> AwaitSignal | None:
    """None, if a call would take no more than is left. Raises `TaskError`, or asks, where it would."""
    price = server.prices.get(config.model)
    if budget.cost is not None and price is None:
        message = f"the budget of {whose} is a cost, and {config.model!r} has no price; give it one in the connection"
        raise TaskError(message, type="no_price", retryable=False)
    request = _request(server, config)
    words = [request[name] for name in ("messages", "response_format") if name in request]
    size = sum(len(msgspec.json.encode(word)) for word in words)
    taken, given = math.ceil(size / BYTES_OF_TOKEN), config.max_tokens or 1
    needed = Budget(None if price is None else _cost(taken, given, price), taken + given)
    if _fits(needed.tokens, budget.tokens) and _fits(needed.cost, budget.cost):
        return None
    left = [] if budget.tokens is None else [f"{budget.tokens} tokens"]
    left += [] if budget.cost is None else [f"a cost of {budget.cost:g}"]
    cost = "" if needed.cost is None else f", and cost {needed.cost:.6g}"
    message = f"this call would take about {taken} tokens in and {given} out{cost}"
    message += f"; the budget of {whose} has {' and '.join(left)} left"
    if budget.on_exceeded == "fail":
        raise TaskError(message, type="budget_exceeded", retryable=False)
    details = msgspec.to_builtins(more_budget(message, budget, needed))
    return AwaitSignal(ask=Ask(KIND, "waits for more budget", details=details))


def _fits(needed: float | None, left: float | None) -> bool:
    return needed is None or left is None or needed <= left


def _cost(taken: int, given: int, price: ModelPrice) -> float:
    return round((taken * price.input + given * price.output) / 1_000_000, 9)


_NO_JSON = object()


async def _ask(server: Server, config: Config, key: str, context: NodeContext) -> _Said:
    api_key = config.api_key or server.api_key
    who = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    ours = {"Content-Type": "application/json", "Idempotency-Key": key}
    headers = merged(ours, server.headers, who, config.headers)
    url = f"{server.base_url.rstrip('/')}/chat/completions"
    body = msgspec.json.encode(_request(server, config))
    try:
        answer: Answer = await context.http.request(
            "POST", url, headers=headers, query={}, body=body, timeout=config.timeout
        )
    except EgressError as error:
        raise TaskError(str(error), type=error.type, retryable=error.retryable) from None
    if answer.status != 200:
        raise _refusal(answer, server)
    return _said(answer, server, config)


def _request(server: Server, config: Config) -> dict[str, Any]:
    messages = [Message("system", config.system)] if config.system is not None else []
    messages += config.messages if config.prompt is None else [Message("user", config.prompt)]
    request: dict[str, Any] = {"model": config.model, "messages": messages}
    if config.temperature is not None:
        request["temperature"] = config.temperature
    if config.max_tokens is not None:
        request[server.max_tokens_field] = config.max_tokens
    if config.json_schema is not None:
        schema = {"name": "output", "schema": config.json_schema}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif config.response_format == "json":
        request["response_format"] = {"type": "json_object"}
    return request


def _refusal(answer: Answer, server: Server) -> TaskError:
    try:
        reason = str(decode_json(answer.content)["error"]["message"])
    except (MillraceError, LookupError, TypeError):
        reason = answer.text()
    if server.api_key:
        reason = reason.replace(server.api_key, "•••")
    retryable = answer.status >= 500 or answer.status in (408, 409, 425, 429)
    return TaskError(f"the model server answered {answer.status}: {reason[:300]}", type="llm", retryable=retryable)


def _said(answer: Answer, server: Server, config: Config) -> _Said:
    try:
        reply = msgspec.convert(decode_json(answer.content, max_bytes=MAX_BODY), _Reply)
    except (MillraceError, msgspec.ValidationError) as error:
        raise TaskError(f"the model server's answer cannot be read: {error}", type="bad_answer") from None
    usage = _usage(reply.usage, server.prices.get(config.model))
    choice = reply.choices[0]
    if choice.message.refusal or choice.finish_reason == "content_filter":
        reason = choice.message.refusal or "its content filter"
        message = f"the model refuses to answer: {reason[:300]}"
        raise TaskError(message, type="llm_refused", retryable=False, usage=usage)
    text = (choice.message.content or "").replace("\0", "\ufffd")
    return _Said(text, choice.finish_reason, reply.model or config.model, usage)


def _usage(used: _Usage | None, price: ModelPrice | None) -> Usage | None:
    """None where the server does not say; without a cost where the operator does not."""
    if used is None:
        return None
    cost = None if price is None else _cost(used.prompt_tokens, used.completion_tokens, price)
    return Usage(used.prompt_tokens, used.completion_tokens, cost)


def _told(usage: Usage | None) -> dict[str, Any]:
    """As the output has it."""
    if usage is None:
        return dict.fromkeys(("input_tokens", "output_tokens", "total_tokens", "cost"))
    total = usage.input_tokens + usage.output_tokens
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": total,
        "cost": usage.cost,
    }


def _json_of(text: str, *, wanted: bool) -> Any:
    """The JSON that a text is, also inside a fence of Markdown; `_NO_JSON` if it is none, or a scalar not wanted."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text[3:-3].removeprefix("json").strip()
    if not wanted and not text.startswith(("{", "[")):
        return _NO_JSON
    try:
        return decode_json(text.encode())
    except MillraceError:
        return _NO_JSON


def _check(value: Any, said: _Said, config: Config) -> None:
    """Another attempt may get a better answer; the tokens of this one are spent."""
    if value is _NO_JSON:
        cut = "; it was cut off by max_tokens" if said.finish_reason == "length" else ""
        reason = f"not JSON{cut}: {said.text[:200]!r}"
    elif config.json_schema is not None and (faults := compile_schema(config.json_schema)(value)):
        reason = "not as json_schema has it: " + "; ".join(f"{f.pointer or '/'} {f.message}" for f in faults[:3])
    else:
        return
    spent = "" if said.usage is None else f" ({said.usage.input_tokens + said.usage.output_tokens} tokens)"
    raise TaskError(f"the model's answer is {reason}{spent}"[:2_000], type="llm_output", usage=said.usage)


handler = Llm()
