"""The one moment in which secrets are open: an attempt that refers to them, from its config to its masked result."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec import structs

from engine.errors import TaskError
from engine.model import DEFAULT_NAMESPACE, Outcome, Record, TaskCall
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
        bound = [set(envelope.hosts) for envelope in call.secrets.values() if envelope.hosts]
        http = _BoundHttp(context.http, frozenset(set.intersection(*bound))) if bound else context.http
        self._context = context._replace(http=http, log=_MaskedLog(context.log, self._masker))

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
        return self._masked_fields(outcome)

    def _masked_fields(self, record: T) -> T:
        fields = ((name, getattr(record, name)) for name in record.__struct_fields__)
        return structs.replace(record, **{name: self._masked_value(value) for name, value in fields})

    def _masked_value(self, value: Any) -> Any:
        if isinstance(value, Record):
            return self._masked_fields(value)
        if isinstance(value, tuple):
            return tuple(map(self._masked_value, value))
        return self._masker.value(value)

    def _masked_error(self, error: Exception) -> TaskError:
        kind, retryable = (
            (error.type, error.retryable) if isinstance(error, TaskError) else (type(error).__name__, True)
        )
        return TaskError(self._masker.text(str(error)), type=kind, retryable=retryable)


class _BoundHttp:
    """The guarded client, for calls to some hosts only."""

    def __init__(self, http: Any, hosts: frozenset[str]) -> None:
        self._http = http
        self._hosts = hosts

    async def request(self, method: str, url: str, **options: Any) -> Any:
        return await self._http.request(method, url, **options, hosts=self._hosts)


class _MaskedLog:
    """A logger that says nothing of the values."""

    def __init__(self, log: Any, masker: Masker) -> None:
        self._log = log
        self._masker = masker

    def __getattr__(self, level: str) -> Callable[..., Any]:
        def say(event: str, **fields: Any) -> Any:
            return getattr(self._log, level)(self._masker.text(event), **self._masker.value(fields))

        return say
