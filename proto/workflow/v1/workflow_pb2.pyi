from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExecuteWorkflowRequest(_message.Message):
    __slots__ = ("workflow_id", "input", "idempotency_key", "wait_seconds", "workflow_key", "input_json", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_KEY_FIELD_NUMBER: _ClassVar[int]
    INPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    workflow_id: int
    input: _struct_pb2.Struct
    idempotency_key: str
    wait_seconds: float
    workflow_key: str
    input_json: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, workflow_id: _Optional[int] = ..., input: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., wait_seconds: _Optional[float] = ..., workflow_key: _Optional[str] = ..., input_json: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ExecuteWorkflowResponse(_message.Message):
    __slots__ = ("execution_id", "status", "replayed", "result", "workflow_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    status: str
    replayed: bool
    result: WorkflowStatusResponse
    workflow_id: int
    def __init__(self, execution_id: _Optional[int] = ..., status: _Optional[str] = ..., replayed: _Optional[bool] = ..., result: _Optional[_Union[WorkflowStatusResponse, _Mapping]] = ..., workflow_id: _Optional[int] = ...) -> None: ...

class GetWorkflowStatusRequest(_message.Message):
    __slots__ = ("execution_id", "wait_seconds", "omit_tasks", "omit_payloads")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    OMIT_TASKS_FIELD_NUMBER: _ClassVar[int]
    OMIT_PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    wait_seconds: float
    omit_tasks: bool
    omit_payloads: bool
    def __init__(self, execution_id: _Optional[int] = ..., wait_seconds: _Optional[float] = ..., omit_tasks: _Optional[bool] = ..., omit_payloads: _Optional[bool] = ...) -> None: ...

class WorkflowStatusResponse(_message.Message):
    __slots__ = ("execution_id", "workflow_id", "status", "started_at", "completed_at", "output", "error", "tasks", "output_json", "workflow_version", "created_at", "last_seq", "input_json", "labels", "cancel_requested", "rerun_of", "parent_id", "root_id", "usage")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    INPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    RERUN_OF_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    ROOT_ID_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    workflow_id: int
    status: str
    started_at: str
    completed_at: str
    output: _struct_pb2.Value
    error: Failure
    tasks: _containers.RepeatedCompositeFieldContainer[TaskStatus]
    output_json: str
    workflow_version: int
    created_at: str
    last_seq: int
    input_json: str
    labels: _containers.ScalarMap[str, str]
    cancel_requested: bool
    rerun_of: int
    parent_id: int
    root_id: int
    usage: Usage
    def __init__(self, execution_id: _Optional[int] = ..., workflow_id: _Optional[int] = ..., status: _Optional[str] = ..., started_at: _Optional[str] = ..., completed_at: _Optional[str] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., error: _Optional[_Union[Failure, _Mapping]] = ..., tasks: _Optional[_Iterable[_Union[TaskStatus, _Mapping]]] = ..., output_json: _Optional[str] = ..., workflow_version: _Optional[int] = ..., created_at: _Optional[str] = ..., last_seq: _Optional[int] = ..., input_json: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., cancel_requested: _Optional[bool] = ..., rerun_of: _Optional[int] = ..., parent_id: _Optional[int] = ..., root_id: _Optional[int] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("input_tokens", "output_tokens", "cost")
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    input_tokens: int
    output_tokens: int
    cost: float
    def __init__(self, input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost: _Optional[float] = ...) -> None: ...

class TaskStatus(_message.Message):
    __slots__ = ("key", "name", "type", "status", "attempt", "iteration", "started_at", "completed_at", "due_at", "output_json", "error", "label", "reason", "executor", "input_json", "scheduled_at", "compensates", "child_id", "usage")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ITERATION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXECUTOR_FIELD_NUMBER: _ClassVar[int]
    INPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPENSATES_FIELD_NUMBER: _ClassVar[int]
    CHILD_ID_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    key: str
    name: str
    type: str
    status: str
    attempt: int
    iteration: str
    started_at: str
    completed_at: str
    due_at: str
    output_json: str
    error: Failure
    label: str
    reason: str
    executor: str
    input_json: str
    scheduled_at: str
    compensates: str
    child_id: int
    usage: Usage
    def __init__(self, key: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., status: _Optional[str] = ..., attempt: _Optional[int] = ..., iteration: _Optional[str] = ..., started_at: _Optional[str] = ..., completed_at: _Optional[str] = ..., due_at: _Optional[str] = ..., output_json: _Optional[str] = ..., error: _Optional[_Union[Failure, _Mapping]] = ..., label: _Optional[str] = ..., reason: _Optional[str] = ..., executor: _Optional[str] = ..., input_json: _Optional[str] = ..., scheduled_at: _Optional[str] = ..., compensates: _Optional[str] = ..., child_id: _Optional[int] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("type", "message", "task")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    task: str
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., task: _Optional[str] = ...) -> None: ...

class CancelExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "reason")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    reason: str
    def __init__(self, execution_id: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelExecutionResponse(_message.Message):
    __slots__ = ("execution_id", "status")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    status: str
    def __init__(self, execution_id: _Optional[int] = ..., status: _Optional[str] = ...) -> None: ...

class SignalExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "name", "payload", "payload_json", "dedupe_key")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_JSON_FIELD_NUMBER: _ClassVar[int]
    DEDUPE_KEY_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    name: str
    payload: _struct_pb2.Value
    payload_json: str
    dedupe_key: str
    def __init__(self, execution_id: _Optional[int] = ..., name: _Optional[str] = ..., payload: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., payload_json: _Optional[str] = ..., dedupe_key: _Optional[str] = ...) -> None: ...

class SignalExecutionResponse(_message.Message):
    __slots__ = ("execution_id", "accepted")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    accepted: bool
    def __init__(self, execution_id: _Optional[int] = ..., accepted: _Optional[bool] = ...) -> None: ...

class WatchExecutionRequest(_message.Message):
    __slots__ = ("execution_id", "after_seq", "until_now")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQ_FIELD_NUMBER: _ClassVar[int]
    UNTIL_NOW_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    after_seq: int
    until_now: bool
    def __init__(self, execution_id: _Optional[int] = ..., after_seq: _Optional[int] = ..., until_now: _Optional[bool] = ...) -> None: ...

class ExecutionEvent(_message.Message):
    __slots__ = ("execution_id", "seq", "type", "at", "data_json")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    seq: int
    type: str
    at: str
    data_json: str
    def __init__(self, execution_id: _Optional[int] = ..., seq: _Optional[int] = ..., type: _Optional[str] = ..., at: _Optional[str] = ..., data_json: _Optional[str] = ...) -> None: ...

class ListExecutionsRequest(_message.Message):
    __slots__ = ("workflow_id", "workflow_key", "statuses", "created_from", "created_to", "page_size", "page_token", "parent_id")
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_KEY_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    CREATED_FROM_FIELD_NUMBER: _ClassVar[int]
    CREATED_TO_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    workflow_id: int
    workflow_key: str
    statuses: _containers.RepeatedScalarFieldContainer[str]
    created_from: str
    created_to: str
    page_size: int
    page_token: str
    parent_id: int
    def __init__(self, workflow_id: _Optional[int] = ..., workflow_key: _Optional[str] = ..., statuses: _Optional[_Iterable[str]] = ..., created_from: _Optional[str] = ..., created_to: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., parent_id: _Optional[int] = ...) -> None: ...

class ListExecutionsResponse(_message.Message):
    __slots__ = ("executions", "next_page_token")
    EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    executions: _containers.RepeatedCompositeFieldContainer[ExecutionSummary]
    next_page_token: str
    def __init__(self, executions: _Optional[_Iterable[_Union[ExecutionSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ExecutionSummary(_message.Message):
    __slots__ = ("execution_id", "workflow_id", "status", "created_at", "started_at", "completed_at", "idempotency_key", "labels", "parent_id")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    workflow_id: int
    status: str
    created_at: str
    started_at: str
    completed_at: str
    idempotency_key: str
    labels: _containers.ScalarMap[str, str]
    parent_id: int
    def __init__(self, execution_id: _Optional[int] = ..., workflow_id: _Optional[int] = ..., status: _Optional[str] = ..., created_at: _Optional[str] = ..., started_at: _Optional[str] = ..., completed_at: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., parent_id: _Optional[int] = ...) -> None: ...

class ListApprovalsRequest(_message.Message):
    __slots__ = ("status", "execution_id", "page_size", "page_token")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    status: str
    execution_id: int
    page_size: int
    page_token: str
    def __init__(self, status: _Optional[str] = ..., execution_id: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListApprovalsResponse(_message.Message):
    __slots__ = ("approvals", "next_page_token")
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    approvals: _containers.RepeatedCompositeFieldContainer[Approval]
    next_page_token: str
    def __init__(self, approvals: _Optional[_Iterable[_Union[Approval, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Approval(_message.Message):
    __slots__ = ("approval_id", "execution_id", "workflow_id", "task", "status", "title", "message", "details_json", "approvers", "roles", "form_json", "require_comment", "requested_at", "due_at", "decided_at", "decided_by", "comment")
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_JSON_FIELD_NUMBER: _ClassVar[int]
    APPROVERS_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    FORM_JSON_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_COMMENT_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_AT_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BY_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    approval_id: int
    execution_id: int
    workflow_id: int
    task: str
    status: str
    title: str
    message: str
    details_json: str
    approvers: _containers.RepeatedScalarFieldContainer[str]
    roles: _containers.RepeatedScalarFieldContainer[str]
    form_json: str
    require_comment: str
    requested_at: str
    due_at: str
    decided_at: str
    decided_by: str
    comment: str
    def __init__(self, approval_id: _Optional[int] = ..., execution_id: _Optional[int] = ..., workflow_id: _Optional[int] = ..., task: _Optional[str] = ..., status: _Optional[str] = ..., title: _Optional[str] = ..., message: _Optional[str] = ..., details_json: _Optional[str] = ..., approvers: _Optional[_Iterable[str]] = ..., roles: _Optional[_Iterable[str]] = ..., form_json: _Optional[str] = ..., require_comment: _Optional[str] = ..., requested_at: _Optional[str] = ..., due_at: _Optional[str] = ..., decided_at: _Optional[str] = ..., decided_by: _Optional[str] = ..., comment: _Optional[str] = ...) -> None: ...

class DecideApprovalRequest(_message.Message):
    __slots__ = ("execution_id", "task", "decision", "by", "comment", "data", "data_json", "approval_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    task: str
    decision: str
    by: str
    comment: str
    data: _struct_pb2.Value
    data_json: str
    approval_id: int
    def __init__(self, execution_id: _Optional[int] = ..., task: _Optional[str] = ..., decision: _Optional[str] = ..., by: _Optional[str] = ..., comment: _Optional[str] = ..., data: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., data_json: _Optional[str] = ..., approval_id: _Optional[int] = ...) -> None: ...

class DecideApprovalResponse(_message.Message):
    __slots__ = ("approval",)
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    approval: Approval
    def __init__(self, approval: _Optional[_Union[Approval, _Mapping]] = ...) -> None: ...

class EmitEventRequest(_message.Message):
    __slots__ = ("type", "payload", "payload_json", "idempotency_key")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_JSON_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    type: str
    payload: _struct_pb2.Value
    payload_json: str
    idempotency_key: str
    def __init__(self, type: _Optional[str] = ..., payload: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., payload_json: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class EmitEventResponse(_message.Message):
    __slots__ = ("event_id", "type", "received_at", "handled", "replayed", "started", "woken", "problems", "woken_count")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    HANDLED_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    WOKEN_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    WOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    event_id: int
    type: str
    received_at: str
    handled: bool
    replayed: bool
    started: _containers.RepeatedCompositeFieldContainer[StartedByEvent]
    woken: _containers.RepeatedCompositeFieldContainer[WokenByEvent]
    problems: _containers.RepeatedCompositeFieldContainer[TriggerProblem]
    woken_count: int
    def __init__(self, event_id: _Optional[int] = ..., type: _Optional[str] = ..., received_at: _Optional[str] = ..., handled: _Optional[bool] = ..., replayed: _Optional[bool] = ..., started: _Optional[_Iterable[_Union[StartedByEvent, _Mapping]]] = ..., woken: _Optional[_Iterable[_Union[WokenByEvent, _Mapping]]] = ..., problems: _Optional[_Iterable[_Union[TriggerProblem, _Mapping]]] = ..., woken_count: _Optional[int] = ...) -> None: ...

class StartedByEvent(_message.Message):
    __slots__ = ("execution_id", "workflow_id", "trigger_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    workflow_id: int
    trigger_id: int
    def __init__(self, execution_id: _Optional[int] = ..., workflow_id: _Optional[int] = ..., trigger_id: _Optional[int] = ...) -> None: ...

class WokenByEvent(_message.Message):
    __slots__ = ("execution_id", "task")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    execution_id: int
    task: str
    def __init__(self, execution_id: _Optional[int] = ..., task: _Optional[str] = ...) -> None: ...

class TriggerProblem(_message.Message):
    __slots__ = ("trigger_id", "workflow_id", "code", "message")
    TRIGGER_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    trigger_id: int
    workflow_id: int
    code: str
    message: str
    def __init__(self, trigger_id: _Optional[int] = ..., workflow_id: _Optional[int] = ..., code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
