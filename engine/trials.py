"""One node by itself: what types there are, and what a config of one does when it is really run."""

import asyncio
import inspect
import time
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from msgspec import structs

from engine import limits
from engine.bodies import apart
from engine.catalog import Catalog, NodeType
from engine.documents import check_payload
from engine.errors import Fault, Invalid, TaskError
from engine.expressions.tree import pointer_of
from engine.keeper import Keeper
from engine.model import (
    Ask,
    AwaitSignal,
    Completed,
    Failed,
    Failure,
    FanOut,
    Lost,
    Outcome,
    Record,
    Result,
    Sleep,
    StartChild,
    TaskCall,
)
from engine.outcomes import portable
from engine.rendering import compile_config
from engine.secrets import names_in, shown
from engine.states import TaskStatus
from engine.task_ports import Host

KEY = "test"


class TrialTask(Record, frozen=True):
    """A task that templates of the config refer to, as if it had completed."""

    output: Any = None
    status: TaskStatus = TaskStatus.COMPLETED
    error: Failure | None = None


class TrialScope(Record, frozen=True):
    """What templates of the config may refer to."""

    input: Any
    tasks: dict[str, TrialTask]
    now: float
    execution_id: int = 0


class Trial(Record, frozen=True, omit_defaults=False):
    """What came of it. `config` is what the node got; `elapsed` is in seconds.

    `sleeping`, `waiting` and `fanned_out` say what the engine would do next: see `seconds`, `until` (epoch), `signal`
    and `reason`, `count`, how often it would run the task inside, and `starts`: the workflow that would be executed,
    which is not.
    """

    status: Literal["completed", "failed", "sleeping", "waiting", "fanned_out"]
    config: dict[str, Any]
    elapsed: float
    output: Any = None
    label: str | None = None
    error: Failure | None = None
    retryable: bool | None = None
    seconds: float | None = None
    until: float | None = None
    signal: str | None = None
    reason: str | None = None
    count: int | None = None
    starts: StartChild | None = None


class Trials:
    """The node types of this process, and a host to run them in."""

    def __init__(self, nodes: Catalog, host: Host, keeper: Keeper) -> None:
        self._nodes = nodes
        self._host = host
        self._keeper = keeper

    def list(self) -> list[NodeType]:
        """By name."""
        return [self._nodes.describe(name) for name in sorted(self._nodes.types())]

    def describe(self, type: str) -> NodeType:  # noqa: A002
        """Raises `NodeTypeNotFound`."""
        return self._nodes.describe(type)

    async def run(
        self,
        type: str,  # noqa: A002
        config: Mapping[str, Any],
        input: Any,  # noqa: A002
        outputs: Mapping[str, Any],
        seconds: float,
    ) -> Trial:
        """One attempt, with its effects. Raises `NodeTypeNotFound`, `Invalid` with all faults of the config."""
        self._nodes.describe(type)
        if not 0 < seconds <= limits.WAIT:
            raise Invalid(f"timeout is in seconds, above 0 and at most {limits.WAIT:g}", pointer="/timeout")
        check_payload(input, "input")
        scope = TrialScope(input, {key: TrialTask(value) for key, value in outputs.items()}, time.time())
        kind, rendered = self._rendered(type, config, scope)
        call = TaskCall(0, KEY, kind, rendered, timeout=seconds, idempotency_key=f"{KEY}/{uuid.uuid4()}")
        began = time.monotonic()
        result = await self._attempt(call)
        elapsed = round(time.monotonic() - began, 6)
        return _trial(shown(rendered), portable(KEY, result, elapsed), elapsed)

    def _rendered(self, type: str, config: Mapping[str, Any], scope: TrialScope) -> tuple[str, dict[str, Any]]:  # noqa: A002
        kept = apart(self._nodes.resolve(type) or "")
        template, faults = compile_config(config, self._nodes.conditions(type, config), "/config", apart=kept)
        faults = [*self._nodes.config_faults(type, config, "/config"), *faults]
        public = compile_config(self._nodes.public(type, config), (), "/config", apart=kept)[0]
        for name, place in public.secrets.items():
            faults.append(Fault(f"the secret {name!r} cannot stand here", pointer_of(place), "template_secret"))
        for key, place in template.references.items():
            if key not in scope.tasks:
                message = f"say what the task {key!r} has put out, in tasks"
                faults.append(Fault(message, pointer_of(place), "template_unknown_task"))
        if faults:
            raise Invalid(faults[0].message, faults=faults)
        kind, canonical = self._nodes.canonical(type, config)
        try:
            conditions = self._nodes.conditions(kind, canonical)
            rendered: dict[str, Any] = compile_config(canonical, conditions, apart=kept)[0].render(scope)
        except TaskError as error:
            raise Invalid(error.message, pointer="/config", code="template") from None
        return kind, rendered

    async def _attempt(self, call: TaskCall) -> Result:
        deadline = asyncio.timeout(call.timeout)
        try:
            async with deadline:
                return await self._outcome(call)
        except TaskError as error:
            return Failed(Failure(error.type, error.message), error.retryable, error.usage)
        except Exception as error:
            if deadline.expired():
                return Failed(Failure("timeout", f"it took longer than {call.timeout:g} s"))
            return Failed(Failure(type(error).__name__, str(error)))

    async def _outcome(self, call: TaskCall) -> Outcome:
        if names := names_in(call.config):
            call = structs.replace(call, secrets=await self._keeper.envelopes(names))
        if self._host.is_blocking(call.type):
            outcome = await asyncio.to_thread(self._host.run, call, _no_beat)
        else:
            outcome = self._host.run(call, _no_beat)
        return await outcome if inspect.isawaitable(outcome) else outcome


def _no_beat() -> None:
    """Nobody waits for a sign of life."""


def _trial(config: dict[str, Any], result: Result, elapsed: float) -> Trial:
    match result:
        case Completed(output=output, label=label):
            return Trial("completed", config, elapsed, output, label)
        case Sleep(seconds=seconds, until=until, output=output):
            return Trial("sleeping", config, elapsed, output, seconds=seconds, until=until)
        case AwaitSignal(timeout=timeout, ask=Ask(reason=reason)):
            return Trial("waiting", config, elapsed, seconds=timeout, reason=reason)
        case AwaitSignal(name=name, timeout=timeout):
            return Trial("waiting", config, elapsed, seconds=timeout, signal=name)
        case FanOut(count=count):
            return Trial("fanned_out", config, elapsed, count=count)
        case StartChild():
            return Trial("waiting" if result.wait else "completed", config, elapsed, starts=result)
        case Failed(error=error, retryable=retryable):
            return Trial("failed", config, elapsed, error=error, retryable=retryable)
        case Lost(reason=reason):
            return Trial("failed", config, elapsed, error=Failure("lost", reason), retryable=True)
        case _:
            raise AssertionError(f"{type(result).__name__} is no result")
