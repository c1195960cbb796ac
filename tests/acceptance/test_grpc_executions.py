"""Executions through the gRPC door of a running server."""

import json
import time

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from proto.workflow.v1 import workflow_pb2 as pb
from tests.acceptance.serving import Served

ECHO = {"key": "echo", "type": "set", "parameters": {"got": "{{input.x}}"}}
SLEEP = {"key": "sleep", "type": "delay", "parameters": {"duration_seconds": 3600}}


def events_of(served: Served, execution_id: int, **fields: object) -> list[pb.ExecutionEvent]:
    request = pb.WatchExecutionRequest(execution_id=execution_id, **fields)  # type: ignore[arg-type]
    return list(served.stub.WatchExecution(request, timeout=30))


def status_of(served: Served, execution_id: int, wait: float = 0) -> pb.WorkflowStatusResponse:
    request = pb.GetWorkflowStatusRequest(execution_id=execution_id, wait_seconds=wait)
    status: pb.WorkflowStatusResponse = served.stub.GetWorkflowStatus(request, timeout=30)
    return status


def test_a_workflow_executes_with_a_struct_and_answers_with_a_value(served: Served) -> None:
    request = pb.ExecuteWorkflowRequest(workflow_id=served.workflow(ECHO), wait_seconds=10)
    request.input.update({"x": {"n": 3, "f": 1.5, "l": [True, None, "é"]}})
    answer = served.stub.ExecuteWorkflow(request, timeout=30)
    assert (answer.status, answer.replayed) == ("completed", False)
    assert json.loads(answer.result.output_json) == {"echo": {"got": {"n": 3, "f": 1.5, "l": [True, None, "é"]}}}
    assert MessageToDict(answer.result.output) == json.loads(answer.result.output_json)
    (task,) = answer.result.tasks
    assert (task.key, task.type, task.status, task.attempt) == ("echo", "set", "completed", 1)
    assert json.loads(task.input_json) == {"got": {"n": 3, "f": 1.5, "l": [True, None, "é"]}}
    result = answer.result
    times = [result.created_at, task.scheduled_at, task.started_at, task.completed_at, result.completed_at]
    assert times == sorted(times)
    assert all(time.endswith("Z") for time in times)


def test_a_workflow_is_named_by_its_key_too(served: Served) -> None:
    workflow_id = served.workflow(ECHO, key="by-key")
    answer = served.stub.ExecuteWorkflow(pb.ExecuteWorkflowRequest(workflow_key="by-key", input_json='{"x": 1}'))
    assert answer.workflow_id == workflow_id
    assert status_of(served, answer.execution_id, wait=10).status == "completed"


def test_json_text_is_exact(served: Served) -> None:
    big = 2**63 - 1
    result = served.execute(served.workflow(ECHO), 10, input_json=f'{{"x": [{big}, 1.0]}}').result
    assert json.loads(result.output_json)["echo"]["got"] == [big, 1.0]
    assert not result.HasField("output")
    assert json.loads(result.input_json) == {"x": [big, 1.0]}


def test_items_of_a_map_are_rows_of_their_own(served: Served) -> None:
    body = {"type": "set", "config": {"got": "{{item}} of {{input.x}}"}}
    mapped = {"key": "m", "type": "map", "parameters": {"items": "{{input.x}}", "task": body}}
    result = served.execute(served.workflow(mapped), 20, input_json='{"x": ["a", "b"]}').result
    assert [(task.key, task.iteration, task.type, task.status) for task in result.tasks] == [
        ("m", "", "map", "completed"),
        ("m", "[0]", "set", "completed"),
        ("m", "[1]", "set", "completed"),
    ]
    got = [{"got": f'{letter} of ["a","b"]'} for letter in "ab"]
    assert json.loads(result.output_json) == {"m": {"results": got, "errors": []}}
    assert [json.loads(task.input_json) for task in result.tasks[1:]] == got


def test_an_execution_without_input_has_an_empty_object(served: Served) -> None:
    assert served.execute(served.workflow({"parameters": {}}), 10).result.input_json == "{}"


def test_a_failed_execution_says_why(served: Served) -> None:
    result = served.execute(served.workflow(ECHO), 10).result
    assert (result.status, result.error.task) == ("failed", "echo")
    assert "input.x" in result.error.message
    assert result.tasks[0].error == result.error


def test_labels_are_kept(served: Served) -> None:
    execution_id = served.execute(served.workflow(SLEEP), labels={"team": "blue"}).execution_id
    assert dict(status_of(served, execution_id).labels) == {"team": "blue"}


def test_tasks_can_be_left_out(served: Served) -> None:
    execution_id = served.execute(served.workflow(SLEEP)).execution_id
    request = pb.GetWorkflowStatusRequest(execution_id=execution_id, omit_tasks=True)
    assert not served.stub.GetWorkflowStatus(request).tasks
    assert status_of(served, execution_id).tasks


# --- idempotency ---


def test_one_key_is_one_execution_through_every_door(served: Served) -> None:
    workflow_id = served.workflow(ECHO)
    request = pb.ExecuteWorkflowRequest(workflow_id=workflow_id, input_json='{"x": 1}', idempotency_key="k")
    first = served.stub.ExecuteWorkflow(request)
    again = served.stub.ExecuteWorkflow(request)
    request.ClearField("idempotency_key")
    by_metadata = served.stub.ExecuteWorkflow(request, metadata=(("idempotency-key", "k"),))
    by_rest = served.rest(
        "POST", f"/workflows/{workflow_id}/execute", {"input": {"x": 1.0}}, **{"Idempotency-Key": "k"}
    )
    assert not first.replayed
    assert again.replayed
    assert by_metadata.replayed
    assert {again.execution_id, by_metadata.execution_id, by_rest["id"]} == {first.execution_id}


def test_two_keys_in_one_call_are_refused(served: Served) -> None:
    request = pb.ExecuteWorkflowRequest(workflow_id=served.workflow(ECHO), idempotency_key="a")
    with pytest.raises(grpc.RpcError) as refused:
        served.stub.ExecuteWorkflow(request, metadata=(("idempotency-key", "b"),))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# --- waiting ---


def test_a_wait_ends_before_the_deadline_of_the_call(served: Served) -> None:
    request = pb.ExecuteWorkflowRequest(workflow_id=served.workflow(SLEEP), wait_seconds=60)
    answer = served.stub.ExecuteWorkflow(request, timeout=1)
    assert answer.status == answer.result.status
    assert answer.status in {"running", "waiting"}


def test_a_wait_that_is_too_long_for_the_server_is_refused(served: Served) -> None:
    for seconds in (-1.0, 61.0, float("nan")):
        with pytest.raises(grpc.RpcError) as refused:
            served.execute(1, seconds)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# --- watching ---


def test_a_watch_tells_all_that_happens_and_ends(served: Served) -> None:
    workflow_id = served.workflow({"key": "a", "parameters": {"duration": 0.3}}, {"key": "b"})
    execution_id = served.execute(workflow_id).execution_id
    events = events_of(served, execution_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert (events[0].type, events[-1].type) == ("ExecutionStarted", "ExecutionCompleted")
    assert [json.loads(e.data_json)["task"] for e in events if e.type == "TaskCompleted"] == ["a", "b"]
    assert {event.execution_id for event in events} == {execution_id}


def test_a_watch_goes_on_from_a_seq(served: Served) -> None:
    execution_id = served.execute(served.workflow(ECHO), 10, input_json='{"x": 1}').execution_id
    events = events_of(served, execution_id)
    for after in range(len(events) + 1):
        assert events_of(served, execution_id, after_seq=after) == events[after:]


def test_a_history_ends_with_what_is_there(served: Served) -> None:
    execution_id = served.execute(served.workflow(SLEEP)).execution_id
    assert events_of(served, execution_id, until_now=True)[0].type == "ExecutionStarted"


def test_a_cancelled_watch_does_not_disturb_the_execution(served: Served) -> None:
    execution_id = served.execute(served.workflow({"parameters": {"duration": 0.5}})).execution_id
    call = served.stub.WatchExecution(pb.WatchExecutionRequest(execution_id=execution_id))
    assert next(call).seq == 1
    call.cancel()
    assert status_of(served, execution_id, wait=10).status == "completed"


# --- cancel and signal ---


def test_a_cancel_is_recorded_with_its_reason(served: Served) -> None:
    execution_id = served.execute(served.workflow(SLEEP)).execution_id
    request = pb.CancelExecutionRequest(execution_id=execution_id, reason="no need")
    assert served.stub.CancelExecution(request).status == "cancelled"
    assert status_of(served, execution_id).status == "cancelled"
    assert "no need" in events_of(served, execution_id)[-1].data_json
    with pytest.raises(grpc.RpcError) as refused:
        served.stub.CancelExecution(request)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_a_signal_is_taken_once_per_key(served: Served) -> None:
    execution_id = served.execute(served.workflow(SLEEP)).execution_id
    request = pb.SignalExecutionRequest(execution_id=execution_id, name="go", payload_json="[1]", dedupe_key="k")
    assert served.stub.SignalExecution(request).accepted
    while "SignalReceived" not in {
        e["type"] for e in served.rest("GET", f"/executions/{execution_id}/events")["items"]
    }:
        time.sleep(0.02)
    assert not served.stub.SignalExecution(request).accepted
    request = pb.SignalExecutionRequest(execution_id=execution_id, name="go")
    request.payload.struct_value.update({"n": 1})
    assert served.stub.SignalExecution(request).accepted


# --- lists ---


def test_lists_are_pages_newest_first(served: Served) -> None:
    workflow_id = served.workflow(SLEEP, key="listed")
    made = [served.execute(workflow_id).execution_id for _ in range(5)]
    seen: list[int] = []
    request = pb.ListExecutionsRequest(workflow_key="listed", page_size=2)
    while True:
        page = served.stub.ListExecutions(request)
        seen += [execution.execution_id for execution in page.executions]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == made[::-1]


def test_lists_are_filtered(served: Served) -> None:
    workflow_id = served.workflow(SLEEP)
    kept, gone = (served.execute(workflow_id, labels={"n": str(n)}).execution_id for n in range(2))
    served.stub.CancelExecution(pb.CancelExecutionRequest(execution_id=gone))
    created = status_of(served, gone).created_at

    def ids(**fields: object) -> list[int]:
        request = pb.ListExecutionsRequest(workflow_id=workflow_id, **fields)  # type: ignore[arg-type]
        return [execution.execution_id for execution in served.stub.ListExecutions(request).executions]

    assert ids() == [gone, kept]
    assert ids(statuses=["cancelled"]) == [gone]
    assert ids(statuses=["cancelled", "waiting", "running"]) == [gone, kept]
    assert ids(created_from=created) == [gone]
    assert ids(created_to=created) == [kept]
