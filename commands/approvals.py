"""Approvals, over gRPC."""

from commands.calls import call, plain
from commands.output import clock, say, say_json, say_table
from proto.workflow.v1 import workflow_pb2 as pb

LINE = 60
"""Characters of a title in a table."""


def decide(
    decision: str,
    execution_id: int,
    task: str | None,
    by: str | None,
    comment: str | None,
    data_json: str | None,
    as_json: bool,
) -> None:
    request = pb.DecideApprovalRequest(
        execution_id=execution_id, task=task, decision=decision, by=by, comment=comment, data_json=data_json
    )
    approval = plain(call(lambda stub: stub.DecideApproval, request))["approval"]
    if as_json:
        say_json(approval)
    else:
        whom = f" by {approval['decided_by']}" if approval["decided_by"] else ""
        say(f"task {approval['task']} of execution {execution_id} {decision}{whom}")


def page(status: str | None, execution_id: int | None, limit: int, page_token: str | None, as_json: bool) -> None:
    if execution_id is None:
        request = pb.ListApprovalsRequest(status=status, page_size=limit, page_token=page_token)
    else:
        request = pb.ListApprovalsRequest(execution_id=execution_id, status=status, page_token=page_token)
    answer = plain(call(lambda stub: stub.ListApprovals, request))
    if as_json:
        say_json(answer)
        return
    say_table(
        ("ID", "EXECUTION", "TASK", "STATUS", "FOR", "ASKED", "DUE", "WHAT"),
        (
            (
                approval["approval_id"],
                approval["execution_id"],
                approval["task"],
                approval["status"],
                ", ".join([*approval["approvers"], *approval["roles"]]) or "anybody",
                clock(approval["requested_at"]),
                clock(approval["due_at"]),
                (approval["title"] or approval["message"] or "-")[:LINE],
            )
            for approval in answer["approvals"]
        ),
    )
    if answer["next_page_token"]:
        say(f"more: --page-token {answer['next_page_token']}")
