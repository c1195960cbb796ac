"""Logs: one line per action, for people or as JSON, and everything the libraries say goes the same way."""

import logging
import sys
from typing import Any, Literal

import msgspec
import structlog
from structlog.typing import Processor

_encode = msgspec.json.Encoder(enc_hook=str).encode


def configure_logs(level: Literal["debug", "info", "warning", "error"], style: Literal["console", "json"]) -> None:
    """Sets up structlog and the standard library's root logger, both to stderr. Libraries speak from warnings up."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    numeric = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *_renderers(style)],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer)
        if style == "json"
        else structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=max(numeric, logging.WARNING), force=True)
    logging.captureWarnings(True)


def _renderers(style: str) -> list[Processor]:
    if style == "json":
        return [structlog.processors.format_exc_info, _json_line]
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            timestamp_key="time",
            exception_formatter=structlog.dev.plain_traceback,  # the rich one prints locals, secrets among them
        )
    ]


def _json_line(_logger: Any, _method: str, event: structlog.typing.EventDict) -> bytes:
    return _encode(event)


class _ToStructlog(logging.Handler):
    """Hands the records of the standard library (uvicorn, grpc, asyncio, warnings) to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info or None
        )
