"""One line per action; what libraries say goes the same way."""

import json
import subprocess
import sys
from typing import Any

from tests.architecture.repository import ROOT

SPEAK = """
import logging, warnings, structlog
from bootstrap.logs import configure_logs
configure_logs({level!r}, {style!r})
log = structlog.get_logger()
log.debug("looked")
log.info("execution started", execution=4, at=object)
logging.getLogger("uvicorn.error").info("chatter")
logging.getLogger("uvicorn.error").warning("slow %s", "client")
warnings.warn("old")
def divide(secret):
    return 1 / 0
try:
    divide("hunter" + "2")
except ZeroDivisionError:
    log.exception("failed")
"""


def said(level: str, style: str) -> str:
    """What a process with these settings writes to stderr. Nothing goes to stdout."""
    command = [sys.executable, "-c", SPEAK.format(level=level, style=style)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr


def test_json_lines_carry_the_action_and_its_data() -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in said("info", "json").splitlines()]
    by_event = {line["event"].split(":")[0]: line for line in lines}
    assert by_event["execution started"]["execution"] == 4
    assert by_event["execution started"]["level"] == "info"
    assert by_event["execution started"]["time"].endswith("Z")
    assert by_event["slow client"] | {"time": ""} == {
        "event": "slow client", "level": "warning", "logger": "uvicorn.error", "time": ""
    }  # fmt: skip
    assert "ZeroDivisionError" in by_event["failed"]["exception"]
    assert any("old" in line["event"] for line in lines)


def test_the_level_holds_for_us_and_libraries_speak_from_warnings_up() -> None:
    assert "looked" in said("debug", "json")
    quiet = said("info", "console")
    assert "looked" not in quiet
    assert "chatter" not in quiet
    assert "execution started" not in said("error", "console")


def test_a_trace_shows_no_local_variable() -> None:
    for style in ("console", "json"):
        trace = said("info", style)
        assert "ZeroDivisionError" in trace
        assert "hunter2" not in trace
