"""What commands share of their options."""

from typing import Annotated

import typer

Workflow = Annotated[str, typer.Argument(help="The id of the workflow, or its key.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
