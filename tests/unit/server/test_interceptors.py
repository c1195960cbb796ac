"""What the wrapper around each method does, through a real server."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_status.rpc_status import aio as rpc_status
from structlog.testing import capture_logs

from engine.errors import Fault, Invalid
from proto.workflow.v1 import workflow_pb2 as pb
from server.interceptors import MESSAGE_LIMIT, Context, Handler, Streams, streaming, unary

Request = pb.SignalExecutionRequest


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    server.add_registered_method_handlers("t.T", {"Call": handler})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


def calls(channel: grpc.aio.Channel) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
    return channel.unary_unary("/t.T/Call")


def follows(channel: grpc.aio.Channel) -> "grpc.aio.UnaryStreamCall[bytes, bytes]":
    method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/t.T/Call")
    return method(b"")


async def refusal(channel: grpc.aio.Channel, data: bytes = b"") -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await calls(channel)(data)
    return refused.value


async def test_messages_go_in_and_come_out() -> None:
    async def echo(request: pb.SignalExecutionRequest, context: Context) -> pb.SignalExecutionRequest:
        return request

    async with serving(unary(Request, echo, Streams())) as channel:
        data = Request(name="x").SerializeToString()
        assert await calls(channel)(data) == data


@pytest.mark.parametrize("data", [b"\xff\xff", b"\x12\x01\xff"], ids=["no message", "no UTF-8"])
async def test_bytes_that_are_no_message_are_the_callers_fault(data: bytes) -> None:
    async def never(request: pb.SignalExecutionRequest, context: Context) -> pb.SignalExecutionRequest:
        raise AssertionError

    async with serving(unary(Request, never, Streams())) as channel:
        error = await refusal(channel, data)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "workflow.v1.SignalExecutionRequest" in (error.details() or "")


async def test_a_long_message_in_any_script_still_arrives() -> None:
    async def refuses(request: pb.SignalExecutionRequest, context: Context) -> pb.SignalExecutionRequest:
        raise Invalid("€" * 10_000, faults=[Fault("€" * 10_000, "/€")] * 100)

    async with serving(unary(Request, refuses, Streams())) as channel:
        error = await refusal(channel)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (error.details() or "").startswith("€€€")


async def test_an_unexpected_error_shows_nothing_of_the_inside_and_is_logged() -> None:
    async def breaks(request: pb.SignalExecutionRequest, context: Context) -> pb.SignalExecutionRequest:
        raise ZeroDivisionError("a secret")

    async with serving(unary(Request, breaks, Streams())) as channel:
        with capture_logs() as logs:
            error = await refusal(channel)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error)
    (line,) = logs
    assert line["reference"] in (error.details() or "")
    assert isinstance(line["exc_info"], ZeroDivisionError)


async def test_an_answer_beyond_the_limit_is_refused_by_name() -> None:
    async def large(request: pb.SignalExecutionRequest, context: Context) -> pb.SignalExecutionRequest:
        return Request(name="x" * MESSAGE_LIMIT)

    async with serving(unary(Request, large, Streams())) as channel:
        error = await refusal(channel)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "omit_tasks" in (error.details() or "")


class Endless:
    """Answers once, then waits; knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def call(
        self, request: pb.SignalExecutionRequest, context: Context
    ) -> AsyncGenerator[pb.SignalExecutionRequest, None]:
        try:
            yield Request(name="first")
            await asyncio.Event().wait()
        finally:
            self.closed.set()


async def test_a_cancelled_stream_is_closed() -> None:
    endless = Endless()
    async with serving(streaming(Request, endless.call, Streams())) as channel:
        call = follows(channel)
        await call.read()
        call.cancel()
        await asyncio.wait_for(endless.closed.wait(), 10)


async def test_an_answer_that_takes_longer_than_a_stopping_server_lives_is_asked_for_again() -> None:
    begun = asyncio.Event()

    async def waits(request: pb.SignalExecutionRequest, context: Context) -> pb.SignalExecutionRequest:
        begun.set()
        await asyncio.sleep(60)
        return request

    streams = Streams()
    async with serving(unary(Request, waits, streams)) as channel:
        call = calls(channel)(b"")
        await begun.wait()
        streams.expire()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert streams.answering == set()


async def test_a_stopping_server_ends_its_streams_so_that_callers_come_again() -> None:
    endless, streams = Endless(), Streams()
    async with serving(streaming(Request, endless.call, streams)) as channel:
        call = follows(channel)
        await call.read()
        streams.close()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        status = await rpc_status.from_call(call)
    assert endless.closed.is_set()
    assert [detail.TypeName() for detail in status.details] == ["google.rpc.ErrorInfo", "google.rpc.RetryInfo"]


async def test_a_stream_in_the_middle_of_its_first_message_ends_with_its_status_too() -> None:
    begun = asyncio.Event()

    async def talks(request: pb.SignalExecutionRequest, context: Context) -> AsyncGenerator[Request, None]:
        begun.set()
        yield Request(name="more than the caller takes before it reads" * 50_000)

    async def drain() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    streams = Streams()
    async with serving(streaming(Request, talks, streams)) as channel:
        call = follows(channel)
        await begun.wait()
        await asyncio.sleep(0)  # now it writes
        streams.close()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await asyncio.wait_for(drain(), 10)
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_stream_that_fails_says_why() -> None:
    async def fails(request: pb.SignalExecutionRequest, context: Context) -> AsyncGenerator[Request, None]:
        yield Request()
        raise Invalid("no", pointer="/x")

    async with serving(streaming(Request, fails, Streams())) as channel:
        call = follows(channel)
        await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
    assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT
