"""What commands share of their options."""

from typing import Annotated

import typer

MAX_ID = 2**53 - 1
"""Of an execution or anything else that has a number."""

Workflow = Annotated[str, typer.Argument(help="The id of the workflow, or its key.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
