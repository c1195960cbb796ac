"""The command line of Millrace: `python cli.py`.

Here stand the words and options of each command; what it does stands in `commands/`, imported when it is called,
so that help and the simple commands start at once.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from commands import action_group, event_words, file_group, secret_group
from commands.options import Json, Workflow
from commands.values import json_of, text_of
from engine import limits

if TYPE_CHECKING:
    from bootstrap.settings import Settings

app = typer.Typer(
    name="cli.py",
    help="Define workflows, execute them durably, watch them live.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db = typer.Typer(help="The schema of the database.", no_args_is_help=True)
app.add_typer(db, name="db", rich_help_panel="Processes")

app.add_typer(action_group.app, name="action", rich_help_panel="Define (REST)")
app.add_typer(action_group.app, name="actions", hidden=True)
app.add_typer(file_group.app)
app.add_typer(secret_group.app, name="secret", rich_help_panel="Define (REST)")

event_words.install(app)

DEFINE, EXECUTE, PROCESSES = "Define (REST)", "Execute (gRPC)", "Processes"

Execution = Annotated[int, typer.Argument(help="The id of the execution.", min=1, max=limits.ID)]
Key = Annotated[str | None, typer.Option(help="A word of your own that names it, unique.")]
Description = Annotated[str | None, typer.Option(help="A sentence for people.")]
RedisUrl = Annotated[str | None, typer.Option(help="redis://…: the response cache, and RQ; else REDIS_URL.")]
DatabaseUrl = Annotated[str | None, typer.Option(help="sqlite:///file.db or postgresql://…; else DATABASE_URL.")]


# --- define ---


@app.command(rich_help_panel=DEFINE)
def create(
    name: Annotated[str, typer.Argument(help="The name for people.")],
    description: Description = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Create a workflow."""
    from commands import workflows

    workflows.create(name, key, description, as_json)


@app.command("list", rich_help_panel=DEFINE)
def list_workflows(
    skip: Annotated[int, typer.Option(help="Leave out so many.", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="Show at most so many.", min=1, max=1000)] = 100,
    as_json: Json = False,
) -> None:
    """List workflows."""
    from commands import workflows

    workflows.page(skip, limit, as_json)


@app.command(rich_help_panel=DEFINE)
def get(workflow: Workflow, as_json: Json = False) -> None:
    """Show a workflow and its tasks."""
    from commands import workflows

    workflows.get(workflow, as_json)


@app.command(rich_help_panel=DEFINE)
def update(
    workflow: Workflow,
    name: Annotated[str | None, typer.Option(help="The new name.")] = None,
    description: Description = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Change the name, description or key of a workflow."""
    if name is None and description is None and key is None:
        raise typer.BadParameter("nothing to change: give --name, --description or --key")
    from commands import workflows

    workflows.update(workflow, name, key, description, as_json)


@app.command(rich_help_panel=DEFINE)
def delete(workflow: Workflow, as_json: Json = False) -> None:
    """Delete a workflow; its executions finish."""
    from commands import workflows

    workflows.delete(workflow, as_json)


@app.command("add-task", rich_help_panel=DEFINE)
def add_task(  # noqa: PLR0913, PLR0917
    workflow: Workflow,
    name: Annotated[str, typer.Argument(help="The name for people.")],
    order: Annotated[int | None, typer.Option(help="Its place; else after the last.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="What it does: http_request, delay, set …")] = None,
    execution_type: Annotated[Literal["sync", "async"], typer.Option(help="async: beside all that follows.")] = "sync",
    parameters: Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="What it needs.")] = None,
    depends_on: Annotated[list[str] | None, typer.Option(metavar="KEY", help="A task before it; repeatable.")] = None,
    retry: Annotated[str | None, typer.Option(metavar="JSON", help='Such as {"max_attempts": 3}.')] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for one attempt.")] = None,
    when: Annotated[str | None, typer.Option(help="A condition: true, false or a template.")] = None,
    on_error: Annotated[str | None, typer.Option(help="fail, continue, or the key of another task.")] = None,
    executor: Annotated[str | None, typer.Option(help="Where it runs: asyncio, rq or ray.")] = None,
    total_timeout: Annotated[float | None, typer.Option(help="Seconds for all attempts and waits together.")] = None,
    heartbeat_timeout: Annotated[float | None, typer.Option(help="Seconds from one sign of life to the next.")] = None,
    resources: Annotated[str | None, typer.Option(metavar="JSON", help='For Ray, such as {"num_cpus": 2}.')] = None,
    concurrency_key: Annotated[str | None, typer.Option(help="A template; equal keys share the limit.")] = None,
    concurrency_limit: Annotated[int | None, typer.Option(help="Tasks with the same key that run at once.")] = None,
    compensate: Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="What undoes it: type, config …")] = None,
    key: Key = None,
    description: Description = None,
    as_json: Json = False,
) -> None:
    """Add a task to a workflow."""
    from commands import workflows

    task = {
        "name": name,
        "key": key,
        "description": description,
        "order": order,
        "type": type_,
        "execution_type": execution_type,
        "parameters": json_of("--parameters", parameters),
        "depends_on": depends_on,
        "retry": json_of("--retry", retry),
        "timeout": timeout,
        "when": {"true": True, "false": False}.get((when or "").lower(), when),
        "on_error": on_error,
        "executor": executor,
        "total_timeout": total_timeout,
        "heartbeat_timeout": heartbeat_timeout,
        "resources": json_of("--resources", resources),
        "concurrency_key": concurrency_key,
        "concurrency_limit": concurrency_limit,
        "compensate": json_of("--compensate", compensate),
    }
    workflows.add_task(workflow, task, as_json)


# --- execute ---


@app.command(rich_help_panel=EXECUTE)
def execute(
    workflow: Workflow,
    input_: Annotated[str | None, typer.Option("--input", metavar="JSON|@FILE", help="@- reads stdin.")] = None,
    wait: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="For its end; exit code 1 unless it completed.")
    ] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key starts the same execution.")] = None,
    as_json: Json = False,
) -> None:
    """Execute a workflow."""
    from commands import executions

    raise typer.Exit(executions.execute(workflow, text_of("--input", input_), wait, idempotency_key, as_json))


@app.command(rich_help_panel=EXECUTE)
def status(
    execution: Execution,
    brief: Annotated[bool, typer.Option("--brief", help="Without the inputs and outputs of the tasks.")] = False,
    as_json: Json = False,
) -> None:
    """Show how an execution stands, task by task."""
    from commands import executions

    executions.status(execution, brief, as_json)


@app.command(rich_help_panel=EXECUTE)
def watch(
    execution: Execution, as_json: Annotated[bool, typer.Option("--json", help="A line of JSON per event.")] = False
) -> None:
    """Follow an execution until it has ended; exit code 0 if it completed."""
    from commands import watch

    raise typer.Exit(watch.watch(execution, as_json))


@app.command(rich_help_panel=EXECUTE)
def cancel(
    execution: Execution,
    reason: Annotated[str | None, typer.Option(help="For the history.")] = None,
    as_json: Json = False,
) -> None:
    """Cancel an execution."""
    from commands import executions

    executions.cancel(execution, reason, as_json)


@app.command(rich_help_panel=EXECUTE)
def signal(
    execution: Execution,
    name: Annotated[str, typer.Argument(help="The name that a task waits for.")],
    payload: Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="What it carries.")] = None,
    dedupe_key: Annotated[str | None, typer.Option(help="The same key is the same signal.")] = None,
    as_json: Json = False,
) -> None:
    """Deliver a signal to an execution."""
    from commands import executions

    executions.signal(execution, name, text_of("--payload", payload), dedupe_key, as_json)


Task = Annotated[str | None, typer.Argument(help="The key of the task that asks; left out: the only one that does.")]
By = Annotated[str | None, typer.Option(help="Who decides.")]
Comment = Annotated[str | None, typer.Option(help="Why.")]
Data = Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="What the form asks for.")]


@app.command(rich_help_panel=EXECUTE)
def approve(
    execution: Execution,
    task: Task = None,
    by: By = None,
    comment: Comment = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Approve what a task of an execution asks."""
    from commands import approvals

    approvals.decide("approved", execution, task, by, comment, text_of("--data", data), as_json)


@app.command(rich_help_panel=EXECUTE)
def reject(
    execution: Execution,
    task: Task = None,
    by: By = None,
    comment: Comment = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Reject what a task of an execution asks."""
    from commands import approvals

    approvals.decide("rejected", execution, task, by, comment, text_of("--data", data), as_json)


@app.command(rich_help_panel=EXECUTE)
def approvals(
    status: Annotated[
        Literal["pending", "approved", "rejected", "timeout", "closed"] | None, typer.Option(help="Only those.")
    ] = None,
    execution: Annotated[int | None, typer.Option(help="All of this execution.", min=1, max=limits.ID)] = None,
    limit: Annotated[int, typer.Option(help="Show at most so many.", min=1, max=1000)] = 20,
    page_token: Annotated[str | None, typer.Option(help="Go on after the page before.")] = None,
    as_json: Json = False,
) -> None:
    """List approvals, newest first."""
    from commands import approvals

    approvals.page(status, execution, limit, page_token, as_json)


@app.command(rich_help_panel=EXECUTE)
def history(
    execution: Execution,
    after: Annotated[int, typer.Option(help="Only events after this seq.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Show all that happened in an execution."""
    from commands import executions

    executions.history(execution, after, as_json)


@app.command("executions", rich_help_panel=EXECUTE)
def list_executions(
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow (id or key).")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only with this status; repeatable.")] = None,
    created_from: Annotated[str | None, typer.Option(metavar="TIME", help="From this RFC 3339 time on.")] = None,
    created_to: Annotated[str | None, typer.Option(metavar="TIME", help="Before this RFC 3339 time.")] = None,
    parent: Annotated[
        int | None, typer.Option(help="Only those that tasks of this execution started.", min=1, max=limits.ID)
    ] = None,
    limit: Annotated[int, typer.Option(help="Show at most so many.", min=1, max=1000)] = 20,
    page_token: Annotated[str | None, typer.Option(help="Go on after the page before.")] = None,
    as_json: Json = False,
) -> None:
    """List executions, newest first."""
    from commands import executions

    executions.executions(
        workflow=workflow,
        statuses=status or [],
        created_from=created_from,
        created_to=created_to,
        parent=parent,
        limit=limit,
        page_token=page_token,
        as_json=as_json,
    )


# --- processes ---


@app.command(rich_help_panel=PROCESSES)
def serve(  # noqa: PLR0913, PLR0917
    rest_port: Annotated[int | None, typer.Option(help="0: a free one.", min=0, max=65535)] = None,
    grpc_port: Annotated[int | None, typer.Option(help="0: a free one.", min=0, max=65535)] = None,
    rest_host: Annotated[str | None, typer.Option(help="0.0.0.0: every interface.")] = None,
    grpc_host: Annotated[str | None, typer.Option(help="0.0.0.0: every interface.")] = None,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
    executor: Annotated[str | None, typer.Option(help="Where tasks run: asyncio, rq or ray.")] = None,
    use_rq: Annotated[bool, typer.Option("--use-rq", help="The same as --executor rq.")] = False,
    use_ray: Annotated[bool, typer.Option("--use-ray", help="The same as --executor ray.")] = False,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written when it is ready: JSON with rest, grpc, pid.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve REST, gRPC and the engine in one process."""
    chosen = {name for name, given in ((executor, executor), ("rq", use_rq), ("ray", use_ray)) if given}
    if len(chosen) > 1:
        raise typer.BadParameter("tasks run in one place: give one of --executor, --use-rq, --use-ray")
    from commands import serve

    settings = _settings(
        rest_port=rest_port,
        grpc_port=grpc_port,
        rest_host=rest_host,
        grpc_host=grpc_host,
        database_url=database_url,
        redis_url=redis_url,
        executor=chosen.pop() if chosen else None,
    )
    serve.serve(settings, ready_file, as_json)


@app.command(rich_help_panel=PROCESSES)
def worker(
    concurrency: Annotated[int | None, typer.Option(help="Tasks at once; else WORKER_CONCURRENCY.", min=1)] = None,
    redis_url: RedisUrl = None,
    ready_file: Annotated[Path | None, typer.Option(help="Written when it takes tasks: JSON with name, pid.")] = None,
) -> None:
    """Run the tasks of engines that use RQ."""
    from commands import worker

    worker.work(_settings(redis_url=redis_url, worker_concurrency=concurrency), ready_file)


@db.command("upgrade")
def db_upgrade(database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """Bring the schema to the newest version."""
    from commands import database

    database.upgrade(_settings(database_url=database_url).database_url, as_json)


@db.command("current")
def db_current(database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """Show the version of the schema."""
    from commands import database

    database.current(_settings(database_url=database_url).database_url, as_json)


# --- what they share ---


def _settings(**overrides: Any) -> "Settings":
    from bootstrap.settings import load_settings

    return load_settings(**overrides)


def main() -> None:
    """Whatever happens is one line on stderr and an exit code, never a trace."""
    try:
        app(args=sys.argv[1:] or ["--help"])
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        sys.stderr.write(f"error: {_words(error)}\n")
        sys.exit(1)


def _words(error: Exception) -> str:
    from commands.failure import CommandError
    from engine.errors import MillraceError

    text = " ".join(str(error).split())
    return text if isinstance(error, CommandError | MillraceError) else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    main()
