"""Workflows and their tasks, over REST."""

from typing import Any

from commands import rest
from commands.output import clock, say, say_json, say_table


def create(name: str, key: str | None, description: str | None, as_json: bool) -> None:
    body = _given(name=name, key=key, description=description)
    workflow, _ = rest.call("POST", "/workflows/", body)
    if as_json:
        say_json(workflow)
    else:
        say(f"workflow {workflow['id']} created: {workflow['name']}")


def page(skip: int, limit: int, as_json: bool) -> None:
    workflows, headers = rest.call("GET", "/workflows/" + rest.query(skip=skip, limit=limit))
    if as_json:
        say_json(workflows)
        return
    say_table(
        ("ID", "KEY", "NAME", "WRITTEN AS", "UPDATED"),
        ((w["id"], w.get("key"), w["name"], _dialect(w), clock(w["updated_at"])) for w in workflows),
    )
    total = headers.get("x-total-count")
    if total is not None and int(total) > len(workflows):
        say(f"{len(workflows)} of {total} workflows; more with --skip and --limit")


def get(ref: str, as_json: bool) -> None:
    workflow, _ = rest.call("GET", f"/workflows/{rest.segment(ref)}")
    if as_json:
        say_json(workflow)
        return
    key = f" ({workflow['key']})" if workflow.get("key") else ""
    say(f"workflow {workflow['id']}{key}: {workflow['name']}")
    if workflow.get("description"):
        say(workflow["description"])
    if workflow["tasks"]:
        say("")
        say_table(
            ("ID", "ORDER", "KEY", "NAME", "TYPE", "EXECUTION", "DEPENDS ON", "PARAMETERS"),
            (_task_cells(task) for task in workflow["tasks"]),
        )
    if workflow["dialect"] != "ordered_tasks":
        written, _ = rest.call("GET", f"/workflows/{workflow['id']}?format=tasks")
        say(f"written as {workflow['dialect']}")
        say("")
        say_table(
            ("KEY", "NAME", "TYPE", "DEPENDS ON", "CONFIG"),
            (_written_cells(task) for task in written["tasks"]),
        )


def update(ref: str, name: str | None, key: str | None, description: str | None, as_json: bool) -> None:
    changes = _given(name=name, key=key, description=description)
    workflow, _ = rest.call("PUT", f"/workflows/{rest.segment(ref)}", changes)
    if as_json:
        say_json(workflow)
    else:
        say(f"workflow {workflow['id']} updated: {workflow['name']}")


def delete(ref: str, as_json: bool) -> None:
    rest.call("DELETE", f"/workflows/{rest.segment(ref)}")
    if as_json:
        say_json({"deleted": ref})
    else:
        say(f"workflow {ref} deleted; executions that are under way go on")


def add_task(ref: str, task: dict[str, Any], as_json: bool) -> None:
    added, _ = rest.call("POST", f"/workflows/{rest.segment(ref)}/tasks/", _given(**task))
    if as_json:
        say_json(added)
    else:
        say(f"task {added['id']} ({added['key']}) added to workflow {ref}: {added['name']}")


def _dialect(workflow: dict[str, Any]) -> str:
    """A document has no rows to be counted."""
    if workflow["dialect"] != "ordered_tasks":
        return str(workflow["dialect"])
    return f"{len(workflow['tasks'])} {'task' if len(workflow['tasks']) == 1 else 'tasks'}"


def _task_cells(task: dict[str, Any]) -> tuple[Any, ...]:
    return (
        task["id"],
        task["order"],
        task.get("key"),
        task["name"],
        task.get("type"),
        task["execution_type"],
        ", ".join(task.get("depends_on") or ()) or None,
        task["parameters"],
    )


def _written_cells(task: dict[str, Any]) -> tuple[Any, ...]:
    before = task.get("depends_on") or []
    names = [entry if isinstance(entry, str) else f"{entry['task']} ({entry['label']})" for entry in _list(before)]
    kind = task.get("activity_type") or task.get("type") or "noop"
    return str(task["id"]), task.get("name"), kind, ", ".join(names) or None, task.get("config") or {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
