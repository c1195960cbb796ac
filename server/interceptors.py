"""Wraps each method: bytes in, bytes out, and whatever is raised becomes one typed status.

grpc.aio's own interceptors cost a coroutine and a handler look-up per call, and never see a request that cannot
be parsed. A handler that takes the raw bytes costs a function call and sees everything.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, NoReturn, TypeAlias, TypeVar
from uuid import uuid4

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from engine.errors import InvalidDocument, MillraceError, TooLarge, Unavailable
from server.errors import DETAILS_KEY, status_of

MESSAGE_LIMIT = 4 * 1024 * 1024
"""Bytes of one message, in either direction."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Request = TypeVar("Request", bound=Message)

log = structlog.get_logger(__name__)
_codes = {code.value[0]: code for code in grpc.StatusCode}


class Streams:
    """The open calls of a server: when it stops it ends its streams at once, and late answers after their grace."""

    def __init__(self) -> None:
        self.closing = False
        self.expired = False
        self.answering: set[asyncio.Task[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writing: set[asyncio.Task[Any]] = set()

    def close(self) -> None:
        self.closing = True
        for task in self._tasks - self._writing:
            task.cancel()

    def expire(self) -> None:
        """The grace of unary calls is over: each still gets a status that says what to do."""
        self.expired = True
        for task in self.answering:
            task.cancel()

    async def write(self, context: Context, data: bytes) -> None:
        """Is not cut short by `close`: gRPC takes no status for a call whose first write was abandoned."""
        task = asyncio.current_task()
        assert task is not None
        self._writing.add(task)
        try:
            await context.write(data)
        finally:
            self._writing.discard(task)
        if self.closing:
            raise asyncio.CancelledError

    @contextmanager
    def joined(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)


def unary(
    request_type: type[Request], call: Callable[[Request, Context], Awaitable[Message]], streams: Streams
) -> Handler:
    """One request, one answer."""

    async def handle(data: bytes, context: Context) -> bytes:
        task: Any = asyncio.current_task()
        streams.answering.add(task)
        try:
            return _serialized(await call(_parsed(request_type, data), context))
        except asyncio.CancelledError:
            if not streams.expired:
                raise
            await _refuse(context, Unavailable("the server stops; send the same request again, with the same key"))
        except Exception as error:
            await _refuse(context, error)
        finally:
            streams.answering.discard(task)

    return grpc.unary_unary_rpc_method_handler(handle)


def streaming(
    request_type: type[Request], call: Callable[[Request, Context], AsyncGenerator[Message, None]], streams: Streams
) -> Handler:
    """One request, any number of answers. The generator is closed when the caller goes away."""

    async def handle(data: bytes, context: Context) -> None:
        try:
            with streams.joined():
                async with aclosing(call(_parsed(request_type, data), context)) as messages:
                    async for message in messages:
                        await streams.write(context, _serialized(message))
        except asyncio.CancelledError:
            if not streams.closing:
                raise
            await _refuse(context, Unavailable("the server stops; call again and go on after the last event seen"))
        except Exception as error:
            await _refuse(context, error)

    return grpc.unary_stream_rpc_method_handler(handle)


def _parsed(request_type: type[Request], data: bytes) -> Request:
    try:
        return request_type.FromString(data)
    except DecodeError:
        raise InvalidDocument(
            f"not a readable {request_type.DESCRIPTOR.full_name}: broken, not UTF-8, or a Struct nested too deep "
            "(send it as JSON text)"
        ) from None


def _serialized(message: Message) -> bytes:
    data = message.SerializeToString()
    if len(data) > MESSAGE_LIMIT:
        raise TooLarge(
            f"the answer has {len(data)} bytes and a message at most {MESSAGE_LIMIT}; "
            "leave out the payloads (omit_payloads) or the tasks (omit_tasks), take smaller pages, or read it over REST"
        )
    return data


async def _refuse(context: Context, error: Exception) -> NoReturn:
    if not isinstance(error, MillraceError):
        reference = uuid4().hex[:12]
        log.error("call_failed", reference=reference, exc_info=error)
        error = MillraceError(f"something went wrong; the log of the server says what, under {reference}")
    status = status_of(error)
    await context.abort(_codes[status.code], status.message, ((DETAILS_KEY, status.SerializeToString()),))
