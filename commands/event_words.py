"""The words and options of the commands about events from outside; see `commands.events` for what they do."""

from typing import Annotated

import typer

from commands.values import json_of, text_of
from engine import limits

Workflow = Annotated[str, typer.Argument(help="The id of the workflow, or its key.")]
TriggerId = Annotated[int, typer.Argument(help="The id of the trigger.", min=1, max=limits.ID)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
triggers = typer.Typer(help="Which events start a workflow.", no_args_is_help=True)


def install(app: typer.Typer) -> None:
    """Adds them to the command line."""
    app.add_typer(triggers, name="triggers", rich_help_panel="Define (REST)")
    app.command(rich_help_panel="Execute (gRPC)")(emit)


def emit(
    event: Annotated[str, typer.Argument(help="The type of the event, such as lead.created.")],
    data: Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="What it carries; @- reads stdin.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key is the same event.")] = None,
    as_json: Json = False,
) -> None:
    """Send an event: it starts workflows and wakes tasks that wait for it."""
    from commands import events

    events.emit(event, text_of("--data", data), idempotency_key, as_json)


@triggers.command("list")
def list_triggers(workflow: Workflow, as_json: Json = False) -> None:
    """List the triggers of a workflow."""
    from commands import events

    events.triggers(workflow, as_json)


@triggers.command("add")
def add_trigger(
    workflow: Workflow,
    event: Annotated[str, typer.Option(help="The type of the events; *: any.")] = "*",
    condition: Annotated[
        str | None, typer.Option(metavar="JSON|@FILE|EXPRESSION", help='Such as {">": [{"var": "lead.score"}, 80]}.')
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a trigger to a workflow."""
    from commands import events

    text = text_of("--condition", condition)
    is_rule = text is not None and text.lstrip()[:1] == "{" and text.lstrip()[:2] != "{{"
    events.add(workflow, event, json_of("--condition", text) if is_rule else text, as_json)


@triggers.command("enable")
def enable_trigger(workflow: Workflow, trigger: TriggerId) -> None:
    """Let a trigger work again."""
    from commands import events

    events.enable(workflow, trigger, enabled=True)


@triggers.command("disable")
def disable_trigger(workflow: Workflow, trigger: TriggerId) -> None:
    """Let a trigger rest."""
    from commands import events

    events.enable(workflow, trigger, enabled=False)


@triggers.command("delete")
def delete_trigger(workflow: Workflow, trigger: TriggerId) -> None:
    """Delete a trigger."""
    from commands import events

    events.delete(workflow, trigger)
