"""The words of the commands for workflows as files; what they do: `definitions.py` and `rehearsals.py`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from commands.options import Json, Workflow
from commands.values import json_of
from engine import limits

app = typer.Typer()
FILES = "Workflows as files"

File = Annotated[Path, typer.Argument(help="A workflow in YAML or JSON.")]
Files = Annotated[list[Path], typer.Argument(help="YAML or JSON.")]


@app.command(rich_help_panel=FILES)
def validate(files: Files, as_json: Json = False) -> None:
    """Check workflow files, in any dialect, without a server; exit code 1 if one has a fault."""
    from commands import definitions

    raise typer.Exit(definitions.validate(files, as_json))


@app.command("dry-run", rich_help_panel=FILES)
def dry_run(
    file: File,
    input_: Annotated[str | None, typer.Option("--input", metavar="JSON|@FILE", help="@- reads stdin.")] = None,
    mocks: Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="What tasks come to, by key.")] = None,
    as_json: Json = False,
) -> None:
    """Walk through a workflow file without doing anything, and without a server; exit code 1 if it would fail."""
    from commands import rehearsals

    raise typer.Exit(rehearsals.dry_run(file, json_of("--input", input_), json_of("--mocks", mocks), as_json))


@app.command("test", rich_help_panel=FILES)
def run_cases(
    file: File,
    cases: Annotated[Path, typer.Argument(help="Inputs, mocks, and what is expected: YAML or JSON.")],
    as_json: Json = False,
) -> None:
    """Test a workflow file by dry runs, without a server; exit code 1 if a case fails."""
    from commands import rehearsals

    raise typer.Exit(rehearsals.test(file, cases, as_json))


@app.command(rich_help_panel=FILES)
def apply(files: Files, as_json: Json = False) -> None:
    """Create or update a workflow for each file, by its key."""
    from commands import definitions

    definitions.apply(files, as_json)


@app.command(rich_help_panel=FILES)
def export(
    workflow: Workflow,
    format_: Annotated[
        Literal["yaml", "tasks", "graph", "steps", "source"], typer.Option("--format", help="How it is to be written.")
    ] = "yaml",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; else it is printed.")] = None,
) -> None:
    """Write a workflow as a document."""
    from commands import definitions

    definitions.export(workflow, format_, output)


@app.command(rich_help_panel=FILES)
def versions(workflow: Workflow, as_json: Json = False) -> None:
    """List the versions of a workflow."""
    from commands import definitions

    definitions.versions(workflow, as_json)


@app.command(rich_help_panel=FILES)
def diff(
    workflow: Workflow,
    before: Annotated[int, typer.Argument(help="A version.", min=1, max=limits.ID)],
    after: Annotated[int | None, typer.Argument(help="Another; else the draft.", min=1, max=limits.ID)] = None,
) -> None:
    """Show what differs between two versions; exit code 1 if anything does."""
    from commands import definitions

    raise typer.Exit(definitions.diff(workflow, before, after))


@app.command(rich_help_panel=FILES)
def rollback(
    workflow: Workflow,
    version: Annotated[int, typer.Argument(help="Its number.", min=1, max=limits.ID)],
    as_json: Json = False,
) -> None:
    """Go back to a version."""
    from commands import definitions

    definitions.rollback(workflow, version, as_json)
