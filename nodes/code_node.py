"""`code`: a function of yours, in a sandbox."""

import ast
import re
import sys
import threading
import warnings
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import CodeLimits, NodeContext, Shape, Verbatim

MIB = 1024 * 1024
_NEWER = re.compile(
    r"\b[tT][rR]?['\"]|\b[rR][tT]['\"]|\b(?:def|class)\s+\w+\s*\[|\btype\s+\w+\s*[=\[]|\bexcept\b[^:(\n]*,|\blazy\s"
)
"""What some Python may read and another not: strings t'…', parameters of types, `except A, B`, lazy imports."""
_INSIDE = re.compile(r"\b(?:[fF][rR]?|[rR][fF])['\"]")
"""A string f'…': before 3.12 much that stands inside is refused."""
_LENIENT = ("too many", "inconsistent use of tabs", "invalid non-printable character U+FEFF", "iterable unpacking")
"""What a sandbox with a parser of its own takes nevertheless, as messages begin."""
_reading = threading.Lock()


def readable(code: str) -> None:
    """Raises `ValueError` if no Python can read `code`. What one version reads and another not is left to the run."""
    try:
        with _reading, warnings.catch_warnings(action="ignore"):
            ast.parse(code.removeprefix("\ufeff"))
    except SyntaxError as error:
        if not _may_be_read(code, error.msg):
            raise ValueError(f"not Python: {error.msg} (line {error.lineno or 1} of the code)") from None
    except (ValueError, MemoryError, RecursionError):
        pass


def _may_be_read(code: str, message: str) -> bool:
    if message.startswith(_LENIENT) or _NEWER.search(code):
        return True
    return sys.version_info < (3, 12) and bool(_INSIDE.search(code))


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """`code` defines `process(...)`; `input_mapping` gives its arguments by name, and may have templates."""

    code: Annotated[Verbatim, msgspec.Meta(min_length=1, max_length=64 * 1024, extra={"check": readable})]
    input_mapping: dict[str, Any] = {}
    language: Literal["python"] = "python"
    timeout: Annotated[float, msgspec.Meta(gt=0, le=300)] = 5.0
    memory_mb: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 64

    def __post_init__(self) -> None:
        for name in self.input_mapping:
            if not name.isidentifier():
                raise ValueError(f"input_mapping: {name!r} cannot be an argument of a function")


class Code:
    """Runs Python without files, network or environment.

    Output: what `process` returns, which must be JSON; what it prints goes to the log.
    """

    type: ClassVar[str] = "code"
    spellings: ClassVar[dict[str, str]] = {"inputs": "input_mapping", "source": "code"}
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    async def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        limits = CodeLimits(config.timeout, config.memory_mb * MIB)
        value, printed = await context.code.run(config.code, config.input_mapping, limits)
        if printed:
            context.log.info("printed", execution=call.execution_id, task=call.task, text=printed)
        return Completed(value)


handler = Code()
