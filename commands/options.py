"""What commands share of their options."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Workflow = Annotated[str, typer.Argument(help="The id of the workflow, or its key.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def text_option(option: str, value: str | None) -> str | None:
    """`@file` is the content of the file, `@-` that of stdin."""
    if value is None or not value.startswith("@"):
        return value
    try:
        return sys.stdin.read() if value == "@-" else Path(value[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{option}: {value[1:]} cannot be read ({error})") from None


def json_option(option: str, value: str | None) -> Any:
    text = text_option(option, value)
    if text is None:
        return None
    from engine.documents import decode_json
    from engine.errors import Invalid

    try:
        return decode_json(text.encode())
    except Invalid as error:
        raise typer.BadParameter(f"{option}: {error.message}") from None
