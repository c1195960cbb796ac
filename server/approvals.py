"""The methods of the contract that are about approvals."""

from engine import limits
from engine.approvals import Approval
from engine.errors import Invalid
from engine.service import WorkflowService
from engine.verdicts import Verdict
from proto.workflow.v1 import workflow_pb2 as pb
from server import conversion
from server.interceptors import Context

PAGE = 100


class ApprovalServicer:
    """Part of `workflow.v1.WorkflowService`."""

    def __init__(self, service: WorkflowService) -> None:
        self._approvals = service.approvals

    async def list_approvals(self, request: pb.ListApprovalsRequest, context: Context) -> pb.ListApprovalsResponse:
        if request.execution_id:
            return await self._of_execution(request)
        size = request.page_size or PAGE
        if not 1 <= size <= limits.PAGE:
            raise Invalid(f"page_size is between 1 and {limits.PAGE}", pointer="/page_size")
        before = conversion.approval_place(request.page_token) if request.page_token else None
        found = await self._approvals.page(request.status or None, before, size)
        return pb.ListApprovalsResponse(
            approvals=[conversion.approval_message(approval) for approval in found],
            next_page_token=str(found[-1].wait.id) if len(found) == size else "",
        )

    async def _of_execution(self, request: pb.ListApprovalsRequest) -> pb.ListApprovalsResponse:
        for field in ("status", "page_size", "page_token"):
            if getattr(request, field):
                message = f"execution_id lists all of an execution; leave {field} out"
                raise Invalid(message, pointer=f"/{field}")
        found = await self._approvals.of_execution(request.execution_id)
        return pb.ListApprovalsResponse(approvals=[conversion.approval_message(approval) for approval in found])

    async def decide_approval(self, request: pb.DecideApprovalRequest, context: Context) -> pb.DecideApprovalResponse:
        try:
            verdict = Verdict(request.decision)
        except ValueError:
            raise Invalid(f"decision is one of {', '.join(Verdict)}", pointer="/decision", code="enum") from None
        data = conversion.given(request, "data")
        approval = await self._named(request)
        decided = await self._approvals.decide(approval, verdict, request.by or None, request.comment or None, data)
        return pb.DecideApprovalResponse(approval=conversion.approval_message(decided))

    async def _named(self, request: pb.DecideApprovalRequest) -> Approval:
        if request.approval_id:
            if request.execution_id or request.task:
                raise Invalid("give approval_id, or execution_id and task", pointer="/approval_id")
            return await self._approvals.get(request.approval_id)
        if not request.execution_id:
            raise Invalid("execution_id or approval_id must say which approval", pointer="/execution_id")
        return await self._approvals.of_task(request.execution_id, request.task or None)
