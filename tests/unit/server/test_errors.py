"""The table from the engine's errors to gRPC."""

from typing import TypeVar

import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from engine import errors
from engine.errors import Fault, MillraceError
from server.errors import code_of, status_of

D = TypeVar("D", bound=Message)
EXPECTED = {
    errors.Invalid: StatusCode.INVALID_ARGUMENT,
    errors.InvalidDocument: StatusCode.INVALID_ARGUMENT,
    errors.InvalidWorkflow: StatusCode.INVALID_ARGUMENT,
    errors.IdempotencyMismatch: StatusCode.ALREADY_EXISTS,
    errors.TooLarge: StatusCode.RESOURCE_EXHAUSTED,
    errors.NotFound: StatusCode.NOT_FOUND,
    errors.WorkflowNotFound: StatusCode.NOT_FOUND,
    errors.TaskNotFound: StatusCode.NOT_FOUND,
    errors.VersionNotFound: StatusCode.NOT_FOUND,
    errors.ExecutionNotFound: StatusCode.NOT_FOUND,
    errors.NodeTypeNotFound: StatusCode.NOT_FOUND,
    errors.ApprovalNotFound: StatusCode.NOT_FOUND,
    errors.SecretNotFound: StatusCode.NOT_FOUND,
    errors.TriggerNotFound: StatusCode.NOT_FOUND,
    errors.ActionNotFound: StatusCode.NOT_FOUND,
    errors.EventNotFound: StatusCode.NOT_FOUND,
    errors.Conflict: StatusCode.FAILED_PRECONDITION,
    errors.KeyTaken: StatusCode.ALREADY_EXISTS,
    errors.WrittenOtherwise: StatusCode.FAILED_PRECONDITION,
    errors.AlreadyEnded: StatusCode.FAILED_PRECONDITION,
    errors.AlreadyDecided: StatusCode.FAILED_PRECONDITION,
    errors.SecretsDisabled: StatusCode.FAILED_PRECONDITION,
    errors.Exhausted: StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: StatusCode.UNAVAILABLE,
    errors.StoreUnavailable: StatusCode.UNAVAILABLE,
    errors.PublisherUnavailable: StatusCode.UNAVAILABLE,
    errors.Refused: StatusCode.ABORTED,
    errors.LeaseLost: StatusCode.ABORTED,
    errors.BatchRefused: StatusCode.ABORTED,
    errors.ConfigurationError: StatusCode.FAILED_PRECONDITION,
    errors.TaskError: StatusCode.INTERNAL,
    errors.MillraceError: StatusCode.INTERNAL,
}


def subclasses(cls: type[MillraceError]) -> set[type[MillraceError]]:
    return {cls}.union(*(subclasses(child) for child in cls.__subclasses__()))


def test_every_error_has_its_code() -> None:
    tree = {cls for cls in subclasses(MillraceError) if cls.__module__ == "engine.errors"}
    assert {cls: code_of(cls("x")) for cls in tree} == EXPECTED


def detail(status: Status, kind: type[D]) -> D | None:
    """The one detail of this kind."""
    found = kind()
    return next((found for packed in status.details if packed.Unpack(found)), None)


def test_faults_are_field_violations_with_pointers() -> None:
    error = errors.InvalidWorkflow("two faults", faults=[Fault("bad", "/a/0", "unknown"), Fault("worse", line=3)])
    status = status_of(error)
    assert (status.code, status.message) == (3, "two faults")
    bad = detail(status, BadRequest)
    assert bad is not None
    assert [(v.field, v.description, v.reason) for v in bad.field_violations] == [
        ("/a/0", "bad", "unknown"),
        ("", "line 3: worse", "invalid"),
    ]
    info = detail(status, ErrorInfo)
    assert info is not None
    assert (info.reason, info.domain) == ("invalid_workflow", "millrace")
    assert detail(status, RetryInfo) is None


@pytest.mark.parametrize("kind", [errors.StoreUnavailable, errors.Exhausted])
def test_what_passes_says_when_to_come_back(kind: type[MillraceError]) -> None:
    retry = detail(status_of(kind()), RetryInfo)
    assert retry is not None
    assert retry.retry_delay.seconds == 1


def test_a_status_fits_into_a_header_and_says_what_it_left_out() -> None:
    faults = [Fault("€" * 5000, f"/tasks/{n}") for n in range(1000)]
    status = status_of(errors.InvalidWorkflow("€" * 5000, faults=faults))
    assert 3 * len(status.message.encode()) + 4 / 3 * status.ByteSize() < 8192
    bad, info = detail(status, BadRequest), detail(status, ErrorInfo)
    assert bad is not None
    assert info is not None
    assert len(bad.field_violations) + int(info.metadata["omitted_faults"]) == 1000
