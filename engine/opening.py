"""The one moment in which secrets are open: an attempt that refers to them, from its config to its masked result."""

import inspect
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from msgspec import structs

from engine.errors import TaskError
from engine.model import DEFAULT_NAMESPACE, Failed, Lost, Outcome, Record, TaskCall
from engine.outcomes import portable
from engine.secrets import Masker, Vault, filled
from engine.task_ports import NodeContext

T = TypeVar("T", bound=Record)
Attempt = Callable[[TaskCall, NodeContext], Outcome | Awaitable[Outcome]]


def opened(call: TaskCall, context: NodeContext, run: Attempt, *, blocking: bool) -> Outcome | Awaitable[Outcome]:
    """`run` with the values filled in; what it returns, raises and logs has none of them."""
    secret = _Secret(call, context, run)
    return secret.at_once() if blocking else secret.awaited()


class _Secret:
    def __init__(self, call: TaskCall, context: NodeContext, run: Attempt) -> None:
        vault: Vault = context.vault
        values = {name: vault.open(DEFAULT_NAMESPACE, envelope) for name, envelope in call.secrets.items()}
        self._run = run
        self._masker = Masker(values.values())
        self._call = structs.replace(call, config=filled(call.config, values), secrets={})
        self._context = structs.replace(context, log=_MaskedLog(context.log, self._masker))
        bound = [set(envelope.hosts) for envelope in call.secrets.values() if envelope.hosts]
        if bound:
            hosts = frozenset(set.intersection(*bound))
            http, sql = _BoundHttp(context.http, hosts), _BoundSql(context.sql, hosts)
            self._context = structs.replace(self._context, http=http, sql=sql)

    def at_once(self) -> Outcome:
        try:
            outcome = self._run(self._call, self._context)
        except Exception as error:
            raise self._masked_error(error) from None
        assert not inspect.isawaitable(outcome)
        return self._masked(outcome)

    async def awaited(self) -> Outcome:
        try:
            outcome = self._run(self._call, self._context)
            if inspect.isawaitable(outcome):
                outcome = await outcome
        except Exception as error:
            raise self._masked_error(error) from None
        return self._masked(outcome)

    def _masked(self, outcome: Outcome) -> Outcome:
        """Made plain JSON first: a value may stand in an object of any kind."""
        plain = portable(self._call.task, outcome, 0.0)
        if isinstance(plain, Failed):
            message, kind = self._masker.message(plain.error.message), plain.error.type
            raise TaskError(message, type=kind, retryable=plain.retryable, usage=plain.usage)
        assert not isinstance(plain, Lost)
        return self._masked_fields(plain)

    def _masked_fields(self, record: T) -> T:
        given = {name: getattr(record, name) for name in record.__struct_fields__}
        changes = {name: self._masked_field(value) for name, value in given.items()}
        return structs.replace(record, **changes)

    def _masked_field(self, value: Any) -> Any:
        """Numbers of ours, such as seconds and tokens, are no values of others."""
        if isinstance(value, Record):
            return self._masked_fields(value)
        if isinstance(value, tuple):
            return tuple(map(self._masked_field, value))
        return value if isinstance(value, int | float) else self._masker.value(value)

    def _masked_error(self, error: Exception) -> TaskError:
        text = self._masker.message(str(error))
        if isinstance(error, TaskError):
            return TaskError(text, type=self._masker.text(error.type), retryable=error.retryable, usage=error.usage)
        return TaskError(text, type=type(error).__name__)


class _BoundHttp:
    """The guarded client, for calls to some hosts only."""

    def __init__(self, http: Any, hosts: frozenset[str]) -> None:
        self._http = http
        self._hosts = hosts

    async def request(self, method: str, url: str, **options: Any) -> Any:
        return await self._http.request(method, url, **options, hosts=self._hosts)


class _BoundSql:
    """Databases of others, on some hosts only."""

    def __init__(self, sql: Any, hosts: frozenset[str]) -> None:
        self._sql = sql
        self._hosts = hosts

    def run(self, url: str, statement: Any) -> Any:
        host = urlsplit(url).hostname or ""
        if host.lower() not in self._hosts:
            message = f"a secret of this call may not be sent to {host or 'a file'}"
            raise TaskError(message, type="egress_refused", retryable=False)
        return self._sql.run(url, statement)


class _MaskedLog:
    """A logger that says nothing of the values, in what is logged of an exception neither."""

    def __init__(self, log: Any, masker: Masker) -> None:
        self._log = log
        self._masker = masker

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def say(*words: Any, **fields: Any) -> Any:
            if name == "exception" or fields.get("exc_info"):
                fields |= {"exc_info": None, "exception": traceback.format_exc()}
            said = getattr(self._log, "error" if name == "exception" else name)(
                *self._masker.said(words), **self._masker.said(fields)
            )
            return _MaskedLog(said, self._masker) if hasattr(said, "info") else said

        return say
