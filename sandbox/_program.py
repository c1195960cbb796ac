"""What every way of running code agrees on: how `process` is called, and what its answer must be."""

from typing import Any

from engine import limits
from engine.documents import decode_json
from engine.errors import MillraceError, TaskError

PRINTED = 64 * 1024
"""Characters that code may print."""
CALL = "import json as _json_of_result\n_json_of_result.dumps(process(**_inputs))"
"""The result crosses as JSON, so that nothing else gets out."""


def value_of(text: str) -> Any:
    """The value that was returned. Raises `TaskError`."""
    try:
        return decode_json(text.encode("utf-8", "surrogatepass"), max_bytes=limits.PAYLOAD)
    except MillraceError as error:
        raise refused(f"what process returned is not acceptable: {error}", "bad_output") from None


def refused(message: str, kind: str) -> TaskError:
    """A failure that the same code would have again."""
    return TaskError(message, type=kind, retryable=False)


def raised(kind: str, message: str, line: int | None) -> TaskError:
    """An exception of the code itself: its policy says whether it is tried again."""
    at = f" (line {line} of the code)" if line else ""
    return TaskError(f"{kind}: {message}"[: limits.DESCRIPTION] + at, type="code_error")
