"""Events from outside as a use case: stored first, then what follows from them, which may be repeated at any point.

Each start has the event and the trigger as its idempotency key, so that whoever handles an event again after a crash
starts nothing twice. Who stores an event holds it for a while; after that anybody who finds it unhandled goes on: a
caretaker, or the sender that tries again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from engine.documents import check_key, check_payload, digest
from engine.errors import Exhausted, IdempotencyMismatch, Invalid, MillraceError, TaskError, Unavailable
from engine.failpoints import hit
from engine.matching import Matching
from engine.model import DEFAULT_NAMESPACE, Record
from engine.received import (
    UNNAMED,
    WHAT_TYPES_ARE,
    EventStore,
    NewReceived,
    ReceivedEvent,
    Trigger,
    WokenByEvent,
    is_event_type,
)
from engine.triggers import EventScope, holds
from engine.waits import OWN

log = structlog.get_logger(__name__)

PATIENCE = 5.0
"""Seconds that a sender waits for what another one has begun with the same event."""
LOOK = 0.05
"""Seconds between two of its looks."""
PAGE, CLAIM = 500, 100
"""Triggers that are read, and events that are handled, at once."""
KEPT_PROBLEMS = 20
"""Triggers whose latest failure is told in the health of the process."""

_LATER = (Unavailable, Exhausted)
"""What is no fault of a trigger: the event is handled again."""


class StartedByEvent(Record, frozen=True, omit_defaults=False):
    """An execution that an event has started."""

    execution_id: int
    workflow_id: int
    trigger_id: int


class TriggerProblem(Record, frozen=True, omit_defaults=False):
    """A trigger that could not do its work; it harmed no other."""

    trigger_id: int
    workflow_id: int
    code: str
    message: str


class Outcome(Record, frozen=True):
    """What followed from an event, as it is stored. `woken` names the first of the `woken_count` tasks."""

    started: tuple[StartedByEvent, ...] = ()
    woken: tuple[WokenByEvent, ...] = ()
    woken_count: int = 0
    problems: tuple[TriggerProblem, ...] = ()


class Reaction(Record, frozen=True, omit_defaults=False):
    """An event and what followed. `replayed`: its key was known. Not `handled`: the rest follows by itself."""

    event: ReceivedEvent
    outcome: Outcome
    handled: bool
    replayed: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Outcome).decode
Start = Callable[[Trigger, ReceivedEvent, Any], Awaitable[int]]
"""Starts the workflow of a trigger with the payload of an event, once; answers the execution."""


class Reception:
    """Receives events, and handles what was left unhandled. `hold`: seconds in which who has one must be done."""

    def __init__(self, store: EventStore, start: Start, matching: Matching, *, hold: float) -> None:
        self._store = store
        self._start = start
        self._matching = matching
        self._hold = hold
        self._problems: OrderedDict[int, TriggerProblem] = OrderedDict()
        self.left: Callable[[], None] = lambda: None
        """Called when an event is left for later."""

    async def receive(self, payload: Any, event: str = UNNAMED, key: str | None = None) -> Reaction:
        """Durable on return. Raises `Invalid`, `TooLarge`; `IdempotencyMismatch` for a key with another content."""
        new = _checked(payload, event, key)
        stored, is_new = await self._store.receive_event(DEFAULT_NAMESPACE, new, self._hold)
        hit("event.stored")
        if is_new:
            return await self._handled(stored)
        if stored.digest != new.digest:
            raise IdempotencyMismatch()
        return await self._again(stored)

    async def get(self, event_id: int) -> Reaction:
        """Raises `EventNotFound`."""
        return _reaction(await self._store.get_received(DEFAULT_NAMESPACE, event_id))

    async def next_due(self) -> float | None:
        """Seconds until `handle_due` or `look_back` has something to do; None: nothing is known."""
        return await self._store.next_outside()

    async def handle_due(self) -> int:
        """Handles what nobody else does; how many there were."""
        events = await self._store.claim_received(CLAIM, self._hold)
        await asyncio.gather(*map(self._handled, events))
        return len(events)

    async def look_back(self) -> None:
        """Ends waits of tasks for which an event has come before."""
        await self._matching.look_back()

    def health(self) -> str:
        """`ok`, or which triggers failed at the last event that they looked at."""
        if not self._problems:
            return "ok"
        return "; ".join(
            f"trigger {one.trigger_id} of workflow {one.workflow_id}: {one.message}" for one in self._problems.values()
        )

    async def _again(self, event: ReceivedEvent) -> Reaction:
        """It was sent before: by then it is handled, or somebody is at it, or died over it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while event.outcome is None:
            claimed = await self._store.claim_received(1, self._hold, event.id)
            if claimed:
                return msgspec.structs.replace(await self._handled(event), replayed=True)
            if loop.time() >= deadline:
                break
            await asyncio.sleep(LOOK)
            event = await self._store.get_received(DEFAULT_NAMESPACE, event.id)
        return msgspec.structs.replace(_reaction(event), replayed=True)

    async def _handled(self, event: ReceivedEvent) -> Reaction:
        """What does not succeed now because a server is away is left for later, not for the sender to see."""
        try:
            outcome = await self._handle(event)
            hit("event.settle")
            return _reaction(await self._store.settle_received(event.id, _encode(outcome)))
        except _LATER as error:
            log.warning("an event is handled later", event_id=event.id, error=str(error))
            self.left()
            return _reaction(event)

    async def _handle(self, event: ReceivedEvent) -> Outcome:
        payload = msgspec.json.decode(event.payload)
        scope = EventScope(payload, event.received_at)
        started: list[StartedByEvent] = []
        problems: list[TriggerProblem] = []
        after = 0
        while True:
            triggers = await self._store.triggers_for(DEFAULT_NAMESPACE, event.type, after, PAGE)
            for result in await asyncio.gather(*(self._trigger(one, scope, event, payload) for one in triggers)):
                if isinstance(result, StartedByEvent):
                    started.append(result)
                elif result is not None:
                    problems.append(result)
            if len(triggers) < PAGE:
                break
            after = triggers[-1].id
        woken, count = await self._matching.wake(event, scope)
        return Outcome(tuple(started), tuple(woken), count, tuple(problems))

    async def _trigger(
        self, trigger: Trigger, scope: EventScope, event: ReceivedEvent, payload: Any
    ) -> StartedByEvent | TriggerProblem | None:
        try:
            number = await self._start(trigger, event, payload) if holds(trigger, scope) else None
        except _LATER:
            raise
        except MillraceError as error:
            kind = error.type if isinstance(error, TaskError) else error.code
            return self._failed(TriggerProblem(trigger.id, trigger.workflow_id, kind, error.message), event)
        except Exception:
            log.exception("a trigger failed", trigger=trigger.id, event_id=event.id)
            problem = TriggerProblem(trigger.id, trigger.workflow_id, "error", "it failed; see the log of the process")
            return self._failed(problem, event)
        self._problems.pop(trigger.id, None)
        return None if number is None else StartedByEvent(number, trigger.workflow_id, trigger.id)

    def _failed(self, problem: TriggerProblem, event: ReceivedEvent) -> TriggerProblem:
        told = msgspec.to_builtins(problem)
        log.warning("a trigger could not be followed", event_id=event.id, **told)
        self._problems[problem.trigger_id] = problem
        self._problems.move_to_end(problem.trigger_id)
        while len(self._problems) > KEPT_PROBLEMS:
            self._problems.popitem(last=False)
        return problem


def start_key(trigger: Trigger, event: ReceivedEvent) -> str:
    """The idempotency key of the execution that `trigger` starts for `event`: no caller can have taken it."""
    return f"{OWN}event:{event.id}:{trigger.id}"


def _checked(payload: Any, event: str, key: str | None) -> NewReceived:
    if not is_event_type(event):
        raise Invalid(f"the type of an event has {WHAT_TYPES_ARE}; not {event!r:.100}", pointer="/type")
    check_key(key)
    return NewReceived(event, check_payload(payload, "payload"), key, digest([event, payload]))


def _reaction(event: ReceivedEvent) -> Reaction:
    return Reaction(event, Outcome() if event.outcome is None else _decode(event.outcome), event.outcome is not None)
