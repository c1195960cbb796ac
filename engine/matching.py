"""Which waits an event ends, and which earlier event ends a wait.

Both sides write first and look in a later transaction: an event is stored, then open waits are read; a wait is
opened, then (if it looks back) earlier events are read. So whichever comes second sees the first. The decision on a
wait is one, whoever takes it.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import structlog

from engine.errors import Exhausted, TaskError, Unavailable
from engine.expressions.scope import Named
from engine.expressions.templates import Template, compile_condition
from engine.failpoints import hit
from engine.model import DEFAULT_NAMESPACE, Answer, Record
from engine.received import EventStore, EventWait, ReceivedEvent, WokenByEvent
from engine.rendering import VALUES
from engine.triggers import COMPILED, EventScope
from engine.waits import Decision, WaitStore

log = structlog.get_logger(__name__)

PAGE = 100
"""Waits, or events, that are read at once."""
BYTES = 4 * 1024 * 1024
"""Of the payload, once for each wait, in one transaction; a larger payload goes alone."""
NAMED = 1000
"""Of the tasks that an event has woken: what is said of it stays small, however many they are."""
RECEIVED = "received"
"""The decision on a wait that an event has ended, and the label of its task."""
Tell = Callable[[tuple[int, ...]], None]
"""Says that these executions have signals."""


class Filter(Record, frozen=True):
    """What a task has asked for: see `engine.rendering.RuleTemplate`."""

    rule: Any = True
    values: list[Any] = []


class Asked(Record, frozen=True):
    """The details of a wait for an event."""

    filter: Filter = Filter()


_asked = msgspec.json.Decoder(Asked).decode


class Matching:
    """Of one installation."""

    def __init__(self, events: EventStore, waits: WaitStore, tell: Tell) -> None:
        self._events = events
        self._waits = waits
        self._tell = tell

    async def wake(self, event: ReceivedEvent, scope: EventScope) -> tuple[list[WokenByEvent], int]:
        """Ends every open wait that `event` is for. The first `NAMED` it has ever ended, and how many there are."""
        after = 0
        while True:
            waits = await self._events.waits_for(DEFAULT_NAMESPACE, event.type, after, PAGE)
            await self._decide([wait for wait in waits if _fits(wait, event, scope)], event, scope)
            if len(waits) < PAGE:
                return await self._events.woken_by(_name(event), NAMED)
            after = waits[-1].id

    async def look_back(self) -> None:
        """Ends open waits for which an event has come before they were opened.

        A wait that cannot look back harms no other, and tries again in the next round; the first failure is raised
        once all have looked. That a server is away is no fault of a wait, and ends the round.
        """
        failure: Exception | None = None
        after = 0
        while True:
            waits = await self._events.waits_looking_back(after, PAGE)
            if waits:
                hit("event.lookback")
            for wait in waits:
                try:
                    await self._look_back(wait)
                except (Unavailable, Exhausted):
                    raise
                except Exception as error:
                    place = {"execution": wait.execution_id, "task": wait.task}
                    log.warning("a wait could not look back", error=repr(error), **place)
                    failure = failure or error
            if len(waits) < PAGE:
                break
            after = waits[-1].id
        if failure is not None:
            raise failure

    async def _look_back(self, wait: EventWait) -> None:
        after = 0
        while True:
            events = await self._events.events_before(wait.id, after, PAGE)
            for event in events:
                scope = EventScope(msgspec.json.decode(event.payload), event.received_at)
                if _fits(wait, event, scope):
                    await self._decide([wait], event, scope)
                    return
            if len(events) < PAGE:
                await self._events.looked_back(wait.id)
                return
            after = events[-1].id

    async def _decide(self, waits: Sequence[EventWait], event: ReceivedEvent, scope: EventScope) -> None:
        if not waits:
            return
        answer = Answer(scope.input, RECEIVED)
        many = max(1, BYTES // len(event.payload))
        for some in (waits[start : start + many] for start in range(0, len(waits), many)):
            decisions = [Decision(wait.execution_id, wait.task, RECEIVED, answer, by=_name(event)) for wait in some]
            firsts = await self._waits.decide_waits(decisions)
            woken = tuple(wait.execution_id for wait, first in zip(some, firsts, strict=True) if first)
            if woken:
                self._tell(woken)


def _name(event: ReceivedEvent) -> str:
    return f"event:{event.id}"


def _fits(wait: EventWait, event: ReceivedEvent, scope: EventScope) -> bool:
    """A filter that cannot be evaluated for an event does not hold for it."""
    try:
        asked = _asked(wait.details).filter
        if asked.rule is True:
            return True
        answer: bool = _compiled(msgspec.json.encode(asked.rule)).render(Named(scope, {VALUES: asked.values}))
    except (TaskError, msgspec.ValidationError) as error:
        place = {"execution": wait.execution_id, "task": wait.task, "event_id": event.id}
        log.warning("a filter cannot be evaluated", error=str(error), **place)
        return False
    return answer


@lru_cache(COMPILED)
def _compiled(rule: bytes) -> Template:
    """Its faults were found when the workflow was saved; what is wrong nevertheless is not there."""
    return compile_condition(msgspec.json.decode(rule), names={VALUES})[0]
