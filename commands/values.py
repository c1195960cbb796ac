"""Values of options: a text, a file that holds it, or standard input."""

import sys
from pathlib import Path
from typing import Any

import typer


def text_of(option: str, value: str | None) -> str | None:
    """`@file` is the content of the file, `@-` that of stdin."""
    if value is None or not value.startswith("@"):
        return value
    try:
        return sys.stdin.read() if value == "@-" else Path(value[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{option}: {value[1:]} cannot be read ({error})") from None


def json_of(option: str, value: str | None) -> Any:
    """The JSON in it; None if it was not given."""
    text = text_of(option, value)
    if text is None:
        return None
    from engine.documents import decode_json
    from engine.errors import Invalid

    try:
        return decode_json(text.encode())
    except Invalid as error:
        raise typer.BadParameter(f"{option}: {error.message}") from None
