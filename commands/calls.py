"""Calls of the gRPC door."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from grpc_status.rpc_status import from_call

from commands.environment import grpc_target
from commands.failure import CommandError, Lost, one_line
from proto.workflow.v1 import workflow_pb2_grpc

TIMEOUT = 30.0
OPTIONS = (
    ("grpc.enable_http_proxy", 0),  # a proxy of the environment is not for it
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
)
Answer = TypeVar("Answer", bound=Message)


@contextmanager
def connected() -> Iterator[workflow_pb2_grpc.WorkflowServiceStub]:
    """A stub. Inside, a failed call becomes a `CommandError`, `Lost` if nobody answers."""
    with grpc.insecure_channel(grpc_target(), options=OPTIONS) as channel:
        try:
            yield workflow_pb2_grpc.WorkflowServiceStub(channel)
        except grpc.RpcError as error:
            raise (Lost if error.code() == grpc.StatusCode.UNAVAILABLE else CommandError)(line_of(error)) from None


def call(method: Callable[[workflow_pb2_grpc.WorkflowServiceStub], Callable[..., Answer]], request: Message) -> Answer:
    """One unary call. Raises `CommandError`."""
    with connected() as stub:
        return method(stub)(request, timeout=TIMEOUT)


def line_of(error: grpc.RpcError) -> str:
    """What to tell a person."""
    if error.code() == grpc.StatusCode.UNAVAILABLE and from_call(error) is None:
        return f"no answer from {grpc_target()}; is the server up (python cli.py serve), and GRPC_API_URL right?"
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer from {grpc_target()} within {TIMEOUT:g} seconds"
    return one_line(error.details() or str(error.code()), _pointers(error))


def _pointers(error: grpc.RpcError) -> list[str]:
    status = from_call(error)
    found: list[str] = []
    for detail in status.details if status else ():
        bad = BadRequest()
        if detail.Unpack(bad):
            found.extend(violation.field for violation in bad.field_violations)
    return found


def plain(message: Message) -> dict[str, Any]:
    """The message as a JSON object: exact JSON text becomes JSON, its inexact twin is left out, "" is null."""
    return {
        field.name.removesuffix("_json"): _plain(message, field)
        for field in message.DESCRIPTOR.fields
        if field.message_type is None or field.message_type.file.package != "google.protobuf"
    }


def _plain(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.name.endswith("_json"):
        return json.loads(value) if value else None
    if field.has_presence and not message.HasField(field.name):
        return None
    if field.message_type is None:
        return list(value) if field.is_repeated else None if value == "" else value
    if field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [plain(child) for child in value]
    return plain(value)
