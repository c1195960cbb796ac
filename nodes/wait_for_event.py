"""`wait_for_event`: until an event comes for which a rule holds; holds no slot and no memory meanwhile."""

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from engine import limits
from engine.errors import TaskError
from engine.model import Answer, Ask, AwaitSignal, Failure, Outcome, TaskCall
from engine.received import WAITS, check_event_type
from engine.task_ports import NodeContext, Rule, Shape

MOST = 64 * 1024
"""Bytes of a filter with its values, as JSON: each event of the type is held against it."""
Seconds = Annotated[float, msgspec.Meta(gt=0, le=limits.DURATION)]


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """The type of the event, what must hold for it, and how long it is waited for.

    `lookback`: an event that came up to so many seconds before counts too. After `timeout` seconds the task takes its
    edges with the label `timeout_label`; if there is none it fails, or with `on_timeout: continue` completes.
    """

    event: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.NAME, extra={"check": check_event_type})]
    filter: Rule = True
    lookback: Seconds | None = None
    timeout: Seconds | None = None
    on_timeout: Literal["fail", "continue"] = "fail"
    timeout_label: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.NAME)] = "timeout"

    def __post_init__(self) -> None:
        check_event_type(self.event)


class WaitForEvent:
    """Waits for an event; its output is the event's payload, its label `received`."""

    type: ClassVar[str] = "wait_for_event"
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False
    aliases: ClassVar[tuple[str, ...]] = ("wait_event", "await_event")
    spellings: ClassVar[dict[str, str]] = {
        "event_type": "event",
        "condition": "filter",
        "lookback_seconds": "lookback",
        "timeout_seconds": "timeout",
    }

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        asked: Any = config.filter if isinstance(config.filter, dict) else {"rule": config.filter, "values": []}
        if len(msgspec.json.encode(asked)) > MOST:
            raise TaskError(f"the filter has more than {MOST} bytes as JSON", type="filter_too_large", retryable=False)
        reason = f"waits for an event {config.event}"
        details = {"event": config.event, "filter": asked}
        return AwaitSignal(
            timeout=config.timeout,
            ask=Ask(WAITS, reason, config.event, details, config.lookback),
            otherwise=_otherwise(config),
        )


def _otherwise(config: Config) -> Answer:
    error = Failure("timeout", f"no event {config.event} for which the filter holds came in {config.timeout or 0:g} s")
    return Answer(None, config.timeout_label, None if config.on_timeout == "continue" else error)


handler = WaitForEvent()
