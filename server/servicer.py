"""The methods of the contract: each reads its request, calls one use case, and writes the answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from engine import limits
from engine.clock import parse_rfc3339
from engine.documents import decode_json
from engine.errors import Invalid, InvalidDocument
from engine.events import StoredEvent
from engine.received import UNNAMED
from engine.service import WorkflowService
from proto.workflow.v1 import workflow_pb2 as pb
from server import conversion
from server.interceptors import Context

REPLY_SECONDS = 0.1
"""How long before the caller's deadline a wait ends, so that the answer still arrives."""
PAGE = 100
HISTORY_PAGE = 1000


class WorkflowServicer:
    """`workflow.v1.WorkflowService` over the engine's service."""

    def __init__(self, service: WorkflowService) -> None:
        self._service = service

    async def execute_workflow(
        self, request: pb.ExecuteWorkflowRequest, context: Context
    ) -> pb.ExecuteWorkflowResponse:
        ref = _workflow_ref(request)
        wait = _patience(request.wait_seconds, context)
        try:
            started = await self._service.execute_workflow(
                ref,
                _execution_input(request),
                idempotency_key=_idempotency_key(request, context),
                labels=dict(request.labels) if request.labels else None,
            )
        except InvalidDocument as error:
            raise conversion.inside("/input_json" if request.input_json else "/input", error) from None
        answer = pb.ExecuteWorkflowResponse(
            execution_id=started.execution_id,
            workflow_id=started.workflow_id,
            status=started.status,
            replayed=started.replayed,
        )
        if wait is not None:
            view = await self._service.wait(started.execution_id, wait)
            answer.status = view.status
            answer.result.CopyFrom(conversion.status_message(view))
        return answer

    async def get_workflow_status(
        self, request: pb.GetWorkflowStatusRequest, context: Context
    ) -> pb.WorkflowStatusResponse:
        execution_id = _execution_id(request.execution_id)
        wait = _patience(request.wait_seconds, context)
        if wait is None:
            view = await self._service.get_execution(execution_id)
        else:
            view = await self._service.wait(execution_id, wait)
        return conversion.status_message(view, tasks=not request.omit_tasks, payloads=not request.omit_payloads)

    async def cancel_execution(
        self, request: pb.CancelExecutionRequest, context: Context
    ) -> pb.CancelExecutionResponse:
        execution_id = _execution_id(request.execution_id)
        status = await self._service.cancel_execution(execution_id, request.reason or None)
        return pb.CancelExecutionResponse(execution_id=execution_id, status=status or "cancel_requested")

    async def signal_execution(
        self, request: pb.SignalExecutionRequest, context: Context
    ) -> pb.SignalExecutionResponse:
        execution_id = _execution_id(request.execution_id)
        payload = conversion.given(request, "payload")
        try:
            accepted = await self._service.signal_execution(
                execution_id, request.name, payload, request.dedupe_key or None
            )
        except InvalidDocument as error:
            raise conversion.inside("/payload_json" if request.payload_json else "/payload", error) from None
        return pb.SignalExecutionResponse(execution_id=execution_id, accepted=accepted)

    async def watch_execution(
        self, request: pb.WatchExecutionRequest, context: Context
    ) -> AsyncGenerator[pb.ExecutionEvent, None]:
        execution_id, after = _execution_id(request.execution_id), request.after_seq
        if after < 0:
            raise Invalid("after_seq is the seq of an event, or 0", pointer="/after_seq")
        events = self._history(execution_id, after) if request.until_now else self._service.watch(execution_id, after)
        async with aclosing(events) as following:
            async for event in following:
                yield conversion.event_message(event)

    async def _history(self, execution_id: int, after: int) -> AsyncGenerator[StoredEvent, None]:
        full = True
        while full:
            events = await self._service.read_events(execution_id, after, HISTORY_PAGE)
            for event in events:
                yield event
                after = event.seq
            full = len(events) == HISTORY_PAGE

    async def list_executions(self, request: pb.ListExecutionsRequest, context: Context) -> pb.ListExecutionsResponse:
        size = request.page_size or PAGE
        if not 1 <= size <= limits.PAGE:
            raise Invalid(f"page_size is between 1 and {limits.PAGE}", pointer="/page_size")
        rows = await self._service.list_executions(
            workflow=_workflow_ref(request) if request.workflow_id or request.workflow_key else None,
            statuses=conversion.statuses(request.statuses),
            created_from=_time(request.created_from, "/created_from"),
            created_to=_time(request.created_to, "/created_to"),
            after=conversion.cursor(request.page_token) if request.page_token else None,
            parent=_execution_id(request.parent_id) if request.parent_id else None,
            limit=size,
        )
        return pb.ListExecutionsResponse(
            executions=[conversion.summary_message(row) for row in rows],
            next_page_token=conversion.page_token(rows[-1]) if len(rows) == size else "",
        )

    async def emit_event(self, request: pb.EmitEventRequest, context: Context) -> pb.EmitEventResponse:
        payload = conversion.given(request, "payload")
        if not (request.payload_json or request.HasField("payload")):
            payload = {}
        key = _idempotency_key(request, context)
        try:
            made = await self._service.reception.receive(payload, request.type or UNNAMED, key)
        except InvalidDocument as error:
            raise conversion.inside("/payload_json" if request.payload_json else "/payload", error) from None
        return conversion.reaction_message(made)


def _workflow_ref(request: pb.ExecuteWorkflowRequest | pb.ListExecutionsRequest) -> int | str:
    if request.workflow_id and request.workflow_key:
        raise Invalid("give workflow_id or workflow_key, not both", pointer="/workflow_key")
    if not (request.workflow_id or request.workflow_key):
        raise Invalid("workflow_id or workflow_key must say which workflow", pointer="/workflow_id")
    return request.workflow_id or request.workflow_key


def _execution_id(number: int) -> int:
    if not number:
        raise Invalid("execution_id must say which execution", pointer="/execution_id")
    return number


def _patience(seconds: float, context: Context) -> float | None:
    """How long to wait: never beyond the caller's deadline; None is not at all."""
    if not 0 <= seconds <= limits.WAIT:
        raise Invalid(f"wait_seconds is between 0 and {limits.WAIT:g}", pointer="/wait_seconds")
    if not seconds:
        return None
    left: float | None = context.time_remaining()
    return seconds if left is None else max(0.0, min(seconds, left - REPLY_SECONDS))


def _execution_input(request: pb.ExecuteWorkflowRequest) -> Any:
    if request.input_json:
        if request.HasField("input"):
            raise Invalid("give input or input_json, not both", pointer="/input_json")
        return decode_json(request.input_json.encode())
    return conversion.from_struct(request.input) if request.HasField("input") else None


def _idempotency_key(request: pb.ExecuteWorkflowRequest | pb.EmitEventRequest, context: Context) -> str | None:
    """From the request, else from the metadata."""
    sent = next((str(value) for key, value in context.invocation_metadata() or () if key == "idempotency-key"), None)
    if request.idempotency_key and sent is not None and sent != request.idempotency_key:
        raise Invalid("idempotency_key and the metadata idempotency-key differ", pointer="/idempotency_key")
    return request.idempotency_key or sent


def _time(text: str, where: str) -> float | None:
    return parse_rfc3339(text, where) if text else None
