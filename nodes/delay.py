"""`delay`: a durable wait that holds no slot and no memory."""

from typing import Annotated, Any, ClassVar

import msgspec

from engine import limits
from engine.clock import parse_rfc3339, rfc3339
from engine.errors import Invalid
from engine.expressions.templates import has_template
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

    @staticmethod
    def same(config: dict[str, Any]) -> dict[str, Any]:
        """Milliseconds as seconds, a moment in UTC; what a template will give is not known yet."""
        config = {name: value for name, value in config.items() if value is not None}
        match config:
            case {"ms": bool()}:
                return config
            case {"ms": int() | float() as ms, **rest} if "duration_seconds" not in rest:
                return {**rest, "duration_seconds": ms / 1000}
            case {"until": str() as until} if not has_template(until):
                return {**config, "until": _utc(until)}
            case _:
                return config

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        return self.rehearse(call, config)

    def rehearse(self, call: TaskCall, config: Config) -> Outcome:
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


def _utc(until: str) -> str:
    """What is no moment stays as it is: the check says so."""
    try:
        return rfc3339(parse_rfc3339(until)) or until
    except Invalid:
        return until


handler = Delay()
