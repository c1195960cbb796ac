"""`delay`: a durable wait that holds no slot and no memory."""

from typing import Annotated, ClassVar

import msgspec

from engine import limits
from engine.clock import parse_rfc3339
from engine.errors import Invalid
from engine.model import Outcome, Sleep, TaskCall
from engine.task_ports import NodeContext, Shape

Seconds = Annotated[float, msgspec.Meta(ge=0, le=limits.DURATION)]


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """One of the three: seconds, milliseconds, or a moment (RFC 3339)."""

    duration_seconds: Seconds | None = None
    ms: Annotated[float, msgspec.Meta(ge=0, le=limits.DURATION * 1000)] | None = None
    until: str | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.duration_seconds, self.ms, self.until)) != 1:
            raise ValueError("a delay has exactly one of duration_seconds, ms, until")
        if self.until is not None:
            _moment(self.until)


class Delay:
    """Sleeps by the database's clock; never early."""

    type: ClassVar[str] = "delay"
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        if config.until is not None:
            return Sleep(until=_moment(config.until))
        return Sleep(
            seconds=config.duration_seconds if config.duration_seconds is not None else (config.ms or 0) / 1000
        )


def _moment(until: str) -> float:
    try:
        return parse_rfc3339(until)
    except Invalid as error:
        raise ValueError(f"until: {error.message}") from None


handler = Delay()
