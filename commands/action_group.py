"""The words of `python cli.py action …`; what they do stands in `commands/actions.py`."""

from typing import Annotated

import typer

from commands.options import Json
from commands.values import json_of

app = typer.Typer(help="Work that is stored under a name, for tasks to refer to.", no_args_is_help=True)
ActionName = Annotated[str, typer.Argument(help="Its name.")]


@app.command("set")
def set_action(
    name: Annotated[str, typer.Argument(help="What tasks call it.")],
    type_: Annotated[str | None, typer.Option("--type", help="The node type that does it: http_request …")] = None,
    config: Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="Its config, or a part of it.")] = None,
    description: Annotated[str | None, typer.Option(help="A sentence for people.")] = None,
    as_json: Json = False,
) -> None:
    """Create an action, or change what is given of it."""
    from commands import actions

    actions.put(name, type_, json_of("--config", config), description, as_json)


@app.command("list")
def list_actions(
    skip: Annotated[int, typer.Option(help="Leave out so many.", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="Show at most so many.", min=1, max=1000)] = 100,
    as_json: Json = False,
) -> None:
    """List the actions."""
    from commands import actions

    actions.page(skip, limit, as_json)


@app.command("get")
def get_action(name: ActionName, as_json: Json = False) -> None:
    """Show an action."""
    from commands import actions

    actions.get(name, as_json)


@app.command("delete")
def delete_action(name: ActionName) -> None:
    """Delete an action."""
    from commands import actions

    actions.delete(name)
