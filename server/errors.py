"""The one table that maps the engine's errors to gRPC, and the google.rpc details that go with them."""

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from engine.errors import (
    ConfigurationError,
    Conflict,
    Exhausted,
    Fault,
    IdempotencyMismatch,
    Invalid,
    KeyTaken,
    MillraceError,
    NotFound,
    Refused,
    TooLarge,
    Unavailable,
)

CODES: dict[type[MillraceError], grpc.StatusCode] = {
    Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    IdempotencyMismatch: grpc.StatusCode.ALREADY_EXISTS,
    TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    KeyTaken: grpc.StatusCode.ALREADY_EXISTS,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Refused: grpc.StatusCode.ABORTED,
    ConfigurationError: grpc.StatusCode.FAILED_PRECONDITION,
    MillraceError: grpc.StatusCode.INTERNAL,
}
"""By class; a class that is not here has the code of its nearest base."""

RETRY_SECONDS = 1
DOMAIN = "millrace"
DETAILS_KEY = "grpc-status-details-bin"
MESSAGE = 600
"""Bytes of a status message: it travels in a header, percent-encoded, and clients refuse headers beyond 8 KiB."""
FAULTS = 3072
"""Bytes of all field violations, for the same reason."""


def code_of(error: MillraceError) -> grpc.StatusCode:
    """The gRPC status code of `error`."""
    return next(CODES[cls] for cls in type(error).__mro__ if cls in CODES)


def status_of(error: MillraceError) -> Status:
    """ErrorInfo always; BadRequest when there are faults; RetryInfo when trying again helps."""
    status = Status(code=code_of(error).value[0], message=_shorten(error.message))
    info = ErrorInfo(reason=error.code, domain=DOMAIN)
    bad, omitted = _bad_request(error.faults)
    if omitted:
        info.metadata["omitted_faults"] = str(omitted)
    status.details.add().Pack(info)
    if bad.field_violations:
        status.details.add().Pack(bad)
    if isinstance(error, Unavailable | Exhausted):
        status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=RETRY_SECONDS)))
    return status


def _bad_request(faults: tuple[Fault, ...]) -> tuple[BadRequest, int]:
    """As many violations as a header may carry, and how many were left out."""
    bad = BadRequest()
    for number, fault in enumerate(faults):
        where = f"line {fault.line}: " if fault.line is not None else ""
        bad.field_violations.add(field=fault.pointer, description=_shorten(where + fault.message), reason=fault.code)
        if bad.ByteSize() > FAULTS:
            del bad.field_violations[-1]
            return bad, len(faults) - number
    return bad, 0


def _shorten(text: str) -> str:
    data = text.encode()
    return text if len(data) <= MESSAGE else data[: MESSAGE - 3].decode(errors="ignore") + "…"
