"""The words of `python cli.py secret …`; what they do stands in `commands/secrets.py`."""

from typing import Annotated

import typer

from commands.options import Json

app = typer.Typer(help="Values that tasks send and nobody is shown.", no_args_is_help=True)


@app.command("set")
def set_secret(
    name: Annotated[str, typer.Argument(help="Tasks refer to it as {{secrets.NAME}}.")],
    host: Annotated[list[str], typer.Option(help="A host that it may be sent to; several; none: any.")] = [],  # noqa: B006
    from_env: Annotated[str | None, typer.Option(help="The variable that has the value; else standard input.")] = None,
    as_json: Json = False,
) -> None:
    """Keep a secret, or give it a new value."""
    from commands import secrets

    secrets.put(name, host, from_env, as_json)


@app.command("list")
def list_secrets(as_json: Json = False) -> None:
    """List the secrets, without values."""
    from commands import secrets

    secrets.page(as_json)


@app.command("delete")
def delete_secret(name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Delete a secret."""
    from commands import secrets

    secrets.delete(name)


@app.command("rotate")
def rotate_secrets() -> None:
    """Seal all secrets with the first key of SECRET_KEYS."""
    from commands import secrets

    secrets.rotate()


@app.command("key")
def new_secret_key(
    key_id: Annotated[str, typer.Argument(help="A name for the key, such as a date.")] = "k1",
) -> None:
    """Make a key: a part of SECRET_KEYS."""
    from commands import secrets

    secrets.key(key_id)
