"""`send_notification`: tells roles and users, through the channels that the operator has named."""

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from egress.client import Answer, EgressError, merged
from egress.mail import Letter, MailServer, send
from engine import limits
from engine.connections import Connection
from engine.errors import TaskError
from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import SECRETS, NodeContext, Shape

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.NAME)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Names = Name | tuple[Name, ...]


class Channel(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Takes what is for these roles and users; `*` is everybody. Empty: only what names the channel."""

    roles: tuple[str, ...] = ()
    users: tuple[str, ...] = ()


class Webhook(Channel, kw_only=True):
    """Gets the notification as JSON."""

    url: str
    headers: dict[str, str] = {}


class Slack(Channel, kw_only=True):
    """An incoming webhook of Slack, or of what is compatible with it."""

    url: str


class Smtp(Channel, kw_only=True):
    """`addresses` by role or user; `any_address` lets workflows name others in `to`."""

    host: str
    sender: str
    port: Port = 587
    security: Literal["none", "starttls", "tls"] = "starttls"
    username: str | None = None
    password: str = ""
    addresses: dict[str, tuple[str, ...]] = {}
    any_address: bool = False


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """Who is told (`to_role`, `to_user`: one or several; `to`: mail addresses), what, and through which channels.

    Without `channels`: those that take these roles and users; if there are none, the log. `headers` go to webhooks.
    """

    message: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.TEMPLATE)]
    title: Annotated[str, msgspec.Meta(max_length=limits.NAME)] | None = None
    to_role: Names = ()
    to_user: Names = ()
    to: Names = ()
    channels: Names = ()
    data: Any = None
    headers: Annotated[dict[str, str], SECRETS] = {}
    timeout: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0


class _Notice(NamedTuple):
    """What is sent, the same through all channels."""

    config: Config
    roles: tuple[str, ...]
    users: tuple[str, ...]
    to: tuple[str, ...]
    call: TaskCall

    def key(self, channel: str) -> str:
        return f"{self.call.idempotency_key}{channel}"


class SendNotification:
    """Sends a notice to roles and users by log, webhook, mail, or chat.

    Output: `{"delivered": [{"channel", "kind"}]}`. If a channel fails, the task fails and all are tried again; each
    attempt carries the same key (`Idempotency-Key`, `Message-ID`), so that a receiver can tell a copy.
    """

    type: ClassVar[str] = "send_notification"
    aliases: ClassVar[tuple[str, ...]] = ("notification", "notify")
    spellings: ClassVar[dict[str, str]] = {
        "to_roles": "to_role",
        "to_users": "to_user",
        "channel": "channels",
        "subject": "title",
    }
    connections: ClassVar[dict[str, Shape]] = {"log": Channel, "webhook": Webhook, "slack": Slack, "smtp": Smtp}
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    async def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        notice = _Notice(config, _names(config.to_role), _names(config.to_user), _names(config.to), call)
        channels = self._channels(notice, context)
        results = await asyncio.gather(*(_deliver(c, notice, context) for c in channels), return_exceptions=True)
        _raise(channels, results)
        return Completed({"delivered": [{"channel": c.name, "kind": c.kind} for c in channels]})

    def _channels(self, notice: _Notice, context: NodeContext) -> list[Connection]:
        known = context.connections.of(*self.connections)
        wanted = _names(notice.config.channels)
        if not wanted:
            return [c for c in known if _takes(c.server, notice)] or [_LOG]
        by_name = {_LOG.name: _LOG} | {c.name: c for c in known}
        for name in wanted:
            if name not in by_name:
                message = f"there is no channel {name!r}; there are: {', '.join(sorted(by_name))}"
                raise TaskError(message, type="unknown_connection", retryable=False)
        return [by_name[name] for name in dict.fromkeys(wanted)]


_LOG = Connection("log", "log", Channel())


def _names(given: Names) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else given


def _takes(channel: Channel, notice: _Notice) -> bool:
    """A notice for nobody in particular is for those who take everything."""
    if notice.to:
        return isinstance(channel, Smtp) and channel.any_address
    if not notice.roles and not notice.users:
        return "*" in channel.roles or "*" in channel.users
    return _meet(channel.roles, notice.roles) or _meet(channel.users, notice.users)


def _meet(taken: tuple[str, ...], told: tuple[str, ...]) -> bool:
    return bool(told) and ("*" in taken or not set(taken).isdisjoint(told))


def _raise(channels: Iterable[Connection], results: Iterable[BaseException | None]) -> None:
    failed = {c.name: error for c, error in zip(channels, results, strict=True) if error is not None}
    for error in failed.values():
        if not isinstance(error, EgressError | TaskError):
            raise error
    if failed:
        message = "; ".join(f"{name}: {error}" for name, error in failed.items())
        retryable = any(getattr(error, "retryable", True) for error in failed.values())
        raise TaskError(message, type="notification", retryable=retryable)


async def _deliver(channel: Connection, notice: _Notice, context: NodeContext) -> None:
    match channel.server:
        case Webhook() as webhook:
            body = {
                "title": notice.config.title,
                "message": notice.config.message,
                "roles": notice.roles,
                "users": notice.users,
                "data": notice.config.data,
                "execution_id": notice.call.execution_id,
                "task": notice.call.task,
            }
            headers = merged(webhook.headers, notice.config.headers)
            await _post(webhook.url, headers, body, channel.name, notice, context)
        case Slack() as slack:
            await _post(slack.url, {}, {"text": _slack_text(notice.config)}, channel.name, notice, context)
        case Smtp() as smtp:
            server = MailServer(smtp.host, smtp.port, smtp.security, smtp.username, smtp.password)
            await send(server, _letter(smtp, channel.name, notice), notice.config.timeout)
        case _:
            who = {"roles": notice.roles, "users": notice.users, "to": notice.to}
            told = {name: value for name, value in who.items() if value}
            context.log.info("notification", message=notice.config.message, execution=notice.call.execution_id, **told)


async def _post(url: str, headers: dict[str, str], body: Any, name: str, notice: _Notice, context: NodeContext) -> None:
    """Says nothing of the URL but its host: the path of an incoming webhook is its password."""
    headers = merged({"Content-Type": "application/json", "Idempotency-Key": notice.key(name)}, headers)
    host, seconds = urlsplit(url).hostname, notice.config.timeout
    try:
        answer: Answer = await context.http.request(
            "POST", url, headers=headers, query={}, body=msgspec.json.encode(body), timeout=seconds
        )
    except EgressError as error:
        raise EgressError(f"no answer from {host} ({error.type})", error.type, retryable=error.retryable) from None
    if not 200 <= answer.status < 300:
        retryable = answer.status >= 500 or answer.status in (408, 425, 429)
        raise EgressError(f"{host} answered {answer.status}", "http_status", retryable=retryable)


def _slack_text(config: Config) -> str:
    text = f"*{config.title}*\n{config.message}" if config.title else config.message
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _letter(smtp: Smtp, name: str, notice: _Notice) -> Letter:
    if notice.to and not smtp.any_address:
        message = "this channel writes only to the addresses in its settings (any_address is not set)"
        raise TaskError(message, type="address_not_allowed", retryable=False)
    known = (address for who in (*notice.roles, *notice.users) for address in smtp.addresses.get(who, ()))
    to = tuple(dict.fromkeys((*known, *notice.to)))
    if not to:
        message = f"no address is known for {', '.join((*notice.roles, *notice.users)) or 'nobody'}"
        raise TaskError(message, type="no_address", retryable=False)
    reference = hashlib.sha256(notice.key(name).encode()).hexdigest()[:32]
    subject = notice.config.title or notice.config.message.partition("\n")[0][:100]
    return Letter(smtp.sender, to, subject, notice.config.message, reference)


handler = SendNotification()
