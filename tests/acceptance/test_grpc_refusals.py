"""Everything that the gRPC door refuses: the code, our reason, and where."""

import json
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct, Value
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status.rpc_status import from_call

from proto.workflow.v1 import workflow_pb2 as pb
from tests.acceptance.serving import Served

Code = grpc.StatusCode
MIB = 1024 * 1024


class Refusal:
    """What came back."""

    def __init__(self, error: grpc.RpcError) -> None:
        self.code = error.code()
        self.message = error.details()
        self.reason = ""
        self.pointers: list[str] = []
        for packed in from_call(error).details:
            info, bad = ErrorInfo(), BadRequest()
            if packed.Unpack(info):
                self.reason = info.reason
            elif packed.Unpack(bad):
                self.pointers = [violation.field for violation in bad.field_violations]


def refusal(served: Served, method: str, request: Any) -> Refusal:
    call = getattr(served.stub, method)
    with pytest.raises(grpc.RpcError) as refused:
        list(call(request, timeout=30)) if method == "WatchExecution" else call(request, timeout=30)
    return Refusal(refused.value)


def struct(**fields: Any) -> Struct:
    made = Struct()
    made.update(fields)
    return made


ABSENT = 2**40
EXECUTE, STATUS, LIST = pb.ExecuteWorkflowRequest, pb.GetWorkflowStatusRequest, pb.ListExecutionsRequest
CASES: dict[str, tuple[str, Any, grpc.StatusCode, str, list[str]]] = {
    "no workflow named": ("ExecuteWorkflow", EXECUTE(), Code.INVALID_ARGUMENT, "invalid", ["/workflow_id"]),
    "two workflows named": (
        "ExecuteWorkflow",
        EXECUTE(workflow_id=1, workflow_key="a"),
        Code.INVALID_ARGUMENT,
        "invalid",
        ["/workflow_key"],
    ),
    "unknown workflow": ("ExecuteWorkflow", EXECUTE(workflow_id=ABSENT), Code.NOT_FOUND, "workflow_not_found", []),
    "negative workflow": ("ExecuteWorkflow", EXECUTE(workflow_id=-1), Code.NOT_FOUND, "workflow_not_found", []),
    "largest workflow": ("ExecuteWorkflow", EXECUTE(workflow_id=2**63 - 1), Code.NOT_FOUND, "workflow_not_found", []),
    "unknown key": ("ExecuteWorkflow", EXECUTE(workflow_key="nope"), Code.NOT_FOUND, "workflow_not_found", []),
    "no execution named": ("GetWorkflowStatus", STATUS(), Code.INVALID_ARGUMENT, "invalid", ["/execution_id"]),
    "unknown execution": (
        "GetWorkflowStatus",
        STATUS(execution_id=ABSENT),
        Code.NOT_FOUND,
        "execution_not_found",
        [],
    ),
    "negative execution": ("GetWorkflowStatus", STATUS(execution_id=-1), Code.NOT_FOUND, "execution_not_found", []),
    "largest execution": (
        "GetWorkflowStatus",
        STATUS(execution_id=2**63 - 1),
        Code.NOT_FOUND,
        "execution_not_found",
        [],
    ),
    "cancel of an unknown one": (
        "CancelExecution",
        pb.CancelExecutionRequest(execution_id=ABSENT),
        Code.NOT_FOUND,
        "execution_not_found",
        [],
    ),
    "signal to an unknown one": (
        "SignalExecution",
        pb.SignalExecutionRequest(execution_id=ABSENT, name="x"),
        Code.NOT_FOUND,
        "execution_not_found",
        [],
    ),
    "signal without a name": (
        "SignalExecution",
        pb.SignalExecutionRequest(execution_id=ABSENT),
        Code.INVALID_ARGUMENT,
        "invalid",
        ["/name"],
    ),
    "signal with a bad payload": (
        "SignalExecution",
        pb.SignalExecutionRequest(execution_id=ABSENT, name="x", payload=Value(number_value=float("inf"))),
        Code.INVALID_ARGUMENT,
        "invalid_document",
        ["/payload"],
    ),
    "watch of an unknown one": (
        "WatchExecution",
        pb.WatchExecutionRequest(execution_id=ABSENT),
        Code.NOT_FOUND,
        "execution_not_found",
        [],
    ),
    "watch from before the beginning": (
        "WatchExecution",
        pb.WatchExecutionRequest(execution_id=ABSENT, after_seq=-1),
        Code.INVALID_ARGUMENT,
        "invalid",
        ["/after_seq"],
    ),
    "page too large": ("ListExecutions", LIST(page_size=1001), Code.INVALID_ARGUMENT, "invalid", ["/page_size"]),
    "page too small": ("ListExecutions", LIST(page_size=-1), Code.INVALID_ARGUMENT, "invalid", ["/page_size"]),
    "foreign token": ("ListExecutions", LIST(page_token="x"), Code.INVALID_ARGUMENT, "invalid", ["/page_token"]),
    "no status": ("ListExecutions", LIST(statuses=["done"]), Code.INVALID_ARGUMENT, "invalid", ["/statuses/0"]),
    "no time": ("ListExecutions", LIST(created_to="today"), Code.INVALID_ARGUMENT, "invalid", ["/created_to"]),
    "no such workflow to list": (
        "ListExecutions",
        LIST(workflow_key="nope"),
        Code.NOT_FOUND,
        "workflow_not_found",
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_requests_that_name_nothing(served: Served, name: str) -> None:
    method, request, code, reason, pointers = CASES[name]
    refused = refusal(served, method, request)
    assert (refused.code, refused.reason, refused.pointers) == (code, reason, pointers), refused.message


INPUTS: dict[str, tuple[dict[str, Any], grpc.StatusCode, str, list[str]]] = {
    "NaN": ({"input_json": '{"a": NaN}'}, Code.INVALID_ARGUMENT, "invalid_document", ["/input_json/a"]),
    "no JSON": ({"input_json": "{"}, Code.INVALID_ARGUMENT, "invalid_document", ["/input_json"]),
    "a key twice": ({"input_json": '{"a":1,"a":2}'}, Code.INVALID_ARGUMENT, "invalid_document", ["/input_json/a"]),
    "NUL": ({"input": struct(a=["\0"])}, Code.INVALID_ARGUMENT, "invalid_document", ["/input/a/0"]),
    "surrogate": ({"input_json": '{"a":"\\ud800"}'}, Code.INVALID_ARGUMENT, "invalid_document", ["/input_json/a"]),
    "65 bits": ({"input_json": f'{{"a":{2**64}}}'}, Code.INVALID_ARGUMENT, "invalid_document", ["/input_json/a"]),
    "inexact": ({"input": struct(a=[2**53])}, Code.INVALID_ARGUMENT, "invalid_document", ["/input/a/0"]),
    "infinite": ({"input": struct(a=float("inf"))}, Code.INVALID_ARGUMENT, "invalid_document", ["/input/a"]),
    "twice": ({"input": struct(), "input_json": "{}"}, Code.INVALID_ARGUMENT, "invalid", ["/input_json"]),
    "1 MiB": ({"input": struct(a="x" * MIB)}, Code.RESOURCE_EXHAUSTED, "too_large", []),
    "1 MiB of text": ({"input_json": json.dumps("x" * MIB)}, Code.RESOURCE_EXHAUSTED, "too_large", []),
    "long key": ({"idempotency_key": "k" * 256}, Code.INVALID_ARGUMENT, "invalid", ["/idempotency_key"]),
    "many labels": ({"labels": {str(n): "" for n in range(33)}}, Code.INVALID_ARGUMENT, "invalid", ["/labels"]),
}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs(served: Served, name: str) -> None:
    fields, code, reason, pointers = INPUTS[name]
    refused = refusal(served, "ExecuteWorkflow", EXECUTE(workflow_id=served.workflow(), **fields))
    assert (refused.code, refused.reason, refused.pointers) == (code, reason, pointers), refused.message


def test_depth(served: Served) -> None:
    workflow_id = served.workflow()
    text = "[" * 1000 + "]" * 1000
    refused = refusal(served, "ExecuteWorkflow", EXECUTE(workflow_id=workflow_id, input_json=text))
    assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, "invalid_document")
    deep = EXECUTE(workflow_id=workflow_id)
    value = deep.input.fields["a"]
    for _ in range(60):
        value = value.list_value.values.add()
    refused = refusal(served, "ExecuteWorkflow", deep)
    assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, "invalid_document")


def test_the_same_key_with_another_input(served: Served) -> None:
    workflow_id = served.workflow()
    served.execute(workflow_id, idempotency_key="k", input_json='{"x": 1}')
    refused = refusal(served, "ExecuteWorkflow", EXECUTE(workflow_id=workflow_id, idempotency_key="k"))
    assert (refused.code, refused.reason) == (Code.ALREADY_EXISTS, "idempotency_mismatch")


def test_a_message_beyond_4_mib_never_gets_in(served: Served) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.stub.ExecuteWorkflow(EXECUTE(workflow_id=1, input_json="x" * 5 * MIB))
    assert refused.value.code() is Code.RESOURCE_EXHAUSTED
    assert str(4 * MIB) in (refused.value.details() or "")


def test_a_refused_start_leaves_nothing(served: Served) -> None:
    workflow_id = served.workflow()
    refusal(served, "ExecuteWorkflow", EXECUTE(workflow_id=workflow_id, input_json="NaN"))
    assert not served.stub.ListExecutions(LIST(workflow_id=workflow_id)).executions
