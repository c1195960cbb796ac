"""Executions, over gRPC."""

import time
from typing import Any

from commands.calls import call, connected, plain
from commands.failure import CommandError
from commands.output import cell, clock, duration, say, say_json, say_table, seconds_between
from proto.workflow.v1 import workflow_pb2 as pb

WAIT = 20.0
"""Seconds of one call that waits; there are as many as it takes."""
ENDED = frozenset({"completed", "failed", "cancelled"})


def execute(ref: str, input_json: str | None, wait: float | None, idempotency_key: str | None, as_json: bool) -> int:
    """The exit code: 1 if it was waited for (seconds) and did not complete."""
    request = pb.ExecuteWorkflowRequest(input_json=input_json, idempotency_key=idempotency_key)
    _name_workflow(request, ref)
    started = call(lambda stub: stub.ExecuteWorkflow, request)
    if wait is not None:
        view = _ended(started.execution_id, wait)
        _show(view, as_json)
        return 0 if view.status == "completed" else 1
    if as_json:
        say_json({"execution_id": started.execution_id, "status": started.status, "replayed": started.replayed})
    else:
        known = " (the idempotency key was known)" if started.replayed else ""
        say(f"execution {started.execution_id} {started.status}{known}")
        say(f"follow it: python cli.py watch {started.execution_id}")
    return 0


def status(execution_id: int, brief: bool, as_json: bool) -> None:
    request = pb.GetWorkflowStatusRequest(execution_id=execution_id, omit_payloads=brief)
    _show(call(lambda stub: stub.GetWorkflowStatus, request), as_json)


def cancel(execution_id: int, reason: str | None, as_json: bool) -> None:
    request = pb.CancelExecutionRequest(execution_id=execution_id, reason=reason)
    answer = call(lambda stub: stub.CancelExecution, request)
    if as_json:
        say_json(plain(answer))
    elif answer.status == "cancelled":
        say(f"execution {execution_id} cancelled")
    elif answer.status == "compensating":
        say(f"execution {execution_id} is cancelled; what was done is being undone first")
    else:
        say(f"execution {execution_id}: the cancel is requested and will be recorded by its engine")


def signal(execution_id: int, name: str, payload_json: str | None, dedupe_key: str | None, as_json: bool) -> None:
    request = pb.SignalExecutionRequest(
        execution_id=execution_id, name=name, payload_json=payload_json, dedupe_key=dedupe_key
    )
    answer = call(lambda stub: stub.SignalExecution, request)
    if as_json:
        say_json(plain(answer))
    else:
        say(f"signal {name} {'delivered' if answer.accepted else 'was delivered before'}: execution {execution_id}")


def history(execution_id: int, after: int, as_json: bool) -> None:
    request = pb.WatchExecutionRequest(execution_id=execution_id, after_seq=after, until_now=True)
    with connected() as stub:
        events = [plain(event) for event in stub.WatchExecution(request)]
    if as_json:
        say_json(events)
        return
    say_table(
        ("SEQ", "TIME", "EVENT", "TASK", "DETAILS"),
        ((e["seq"], clock(e["at"]), e["type"], *_details(e["data"])) for e in events),
    )


def executions(
    *,
    workflow: str | None,
    statuses: list[str],
    created_from: str | None,
    created_to: str | None,
    parent: int | None,
    limit: int,
    page_token: str | None,
    as_json: bool,
) -> None:
    request = pb.ListExecutionsRequest(
        statuses=statuses,
        created_from=created_from,
        created_to=created_to,
        page_size=limit,
        page_token=page_token,
        parent_id=parent,
    )
    if workflow is not None:
        _name_workflow(request, workflow)
    answer = plain(call(lambda stub: stub.ListExecutions, request))
    if as_json:
        say_json(answer)
        return
    say_table(
        ("ID", "WORKFLOW", "STATUS", "CREATED", "TOOK", "LABELS"),
        (_summary_cells(execution) for execution in answer["executions"]),
    )
    if answer["next_page_token"]:
        say(f"more: --page-token {answer['next_page_token']}")


def _summary_cells(execution: dict[str, Any]) -> tuple[Any, ...]:
    took = seconds_between(execution["created_at"], execution["completed_at"])
    return (
        execution["execution_id"],
        execution["workflow_id"],
        execution["status"],
        clock(execution["created_at"]),
        duration(took),
        execution["labels"] or None,
    )


def _name_workflow(request: pb.ExecuteWorkflowRequest | pb.ListExecutionsRequest, ref: str) -> None:
    """Digits are an id, anything else is a key."""
    if ref.isdecimal() and len(ref) < 19:
        request.workflow_id = int(ref)
    else:
        request.workflow_key = ref


def _ended(execution_id: int, seconds: float) -> pb.WorkflowStatusResponse:
    """The execution when it has ended, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        left = max(0.0, deadline - time.monotonic())
        request = pb.GetWorkflowStatusRequest(execution_id=execution_id, wait_seconds=min(WAIT, left))
        try:
            view: pb.WorkflowStatusResponse = call(lambda stub: stub.GetWorkflowStatus, request)
        except CommandError as error:
            raise CommandError(f"execution {execution_id} is accepted, but cannot be followed: {error}") from None
        if view.status in ENDED or not left:
            return view


def _show(view: pb.WorkflowStatusResponse, as_json: bool) -> None:
    execution = plain(view)
    if as_json:
        say_json(execution)
    else:
        _say_execution(execution)


def _say_execution(execution: dict[str, Any]) -> None:
    took = duration(seconds_between(execution["created_at"], execution["completed_at"]))
    ended = f" after {took}" if execution["completed_at"] else ""
    asked = ", cancel requested" if execution["cancel_requested"] and not execution["completed_at"] else ""
    what = f"execution {execution['execution_id']} of workflow {execution['workflow_id']}"
    child = f" (child of {execution['parent_id']})" if execution["parent_id"] else ""
    say(f"{what}{child}: {execution['status']}{ended}{asked}")
    if execution["error"]:
        say(f"error: {execution['error']['message']}")
    if execution["usage"]:
        say(f"models: {_spent(execution['usage'])}")
    if execution["tasks"]:
        say("")
        say_table(
            ("TASK", "TYPE", "STATUS", "ATTEMPT", "TOOK", "OUTPUT"),
            (_task_cells(task) for task in execution["tasks"]),
        )
    children = {task["key"]: task["child_id"] for task in execution["tasks"] if task["child_id"]}
    if children:
        say("")
        say_table(("TASK", "CHILD EXECUTION"), children.items())
    if execution["status"] == "completed":
        say("")
        say(f"output: {cell(execution['output'])}")


def _spent(usage: dict[str, Any]) -> str:
    cost = "" if usage["cost"] is None else f", cost {usage['cost']:g}"
    return f"{usage['input_tokens']} tokens in, {usage['output_tokens']} out{cost}"


def _task_cells(task: dict[str, Any]) -> tuple[Any, ...]:
    outcome = task["error"]["message"] if task["error"] else task["output"] or task["reason"]
    took = seconds_between(task["started_at"], task["completed_at"])
    return (
        task["key"] + (task["iteration"] or ""),
        task["type"],
        task["status"],
        task["attempt"] or None,
        duration(took),
        outcome,
    )


def _details(data: dict[str, Any]) -> tuple[Any, Any]:
    rest = {name: value for name, value in data.items() if name != "task"}
    return data.get("task"), rest or None
