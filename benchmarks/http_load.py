"""`python -m benchmarks.http_load`: so many keep-alive connections, each with one request under way at a time.

Reads a `Spec` as JSON, answers a `Load`. Raw bytes on uvloop: a client library would be slower than what it measures.
"""

import asyncio
import sys
import time
from typing import Any, cast

import msgspec
import uvloop

from benchmarks.child import ask

PATIENCE = 30.0
"""Seconds after which no answer is a failure."""


class Spec(msgspec.Struct):
    """An answer counts if it begins with `expect`; what comes before `seconds` begin is not counted."""

    port: int
    request: bytes
    expect: bytes
    connections: int
    seconds: float
    warm: float = 0.2


class Load(msgspec.Struct):
    """Answers per second, and the last one."""

    rate: float
    answer: bytes


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def call(spec: Spec) -> Load:
    """In a process of its own. Raises `RuntimeError` for an answer that was not expected."""
    sent: dict[str, Any] = msgspec.to_builtins(spec)
    return msgspec.convert(ask("http_load", sent), Load)


class _Caller(asyncio.Protocol):
    def __init__(self, spec: Spec) -> None:
        self.answers = 0
        self.last = b""
        self.failure: str | None = None
        self._spec = spec
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast("asyncio.WriteTransport", transport).write  # uvloop's does not inherit from it
        self._write(self._spec.request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if not _is_whole(buffer):
            self._buffer = buffer
            return
        self._buffer = b""
        if not buffer.startswith(self._spec.expect):
            self.failure = buffer.decode(errors="replace")
            return
        self.last = buffer
        self.answers += 1
        self._write(self._spec.request)


def _is_whole(answer: bytes) -> bool:
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    begin = answer.index(b"content-length:") + 15
    return len(answer) - head - 4 >= int(answer[begin : answer.index(b"\r", begin)])


async def _run(spec: Spec) -> Load:
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: _Caller(spec), "127.0.0.1", spec.port) for _ in range(spec.connections)
    ]
    callers = [caller for _, caller in made]
    await asyncio.sleep(spec.warm)
    before, began = sum(caller.answers for caller in callers), time.perf_counter()
    await asyncio.sleep(spec.seconds)
    while sum(caller.answers for caller in callers) == before and time.perf_counter() - began < PATIENCE:
        await asyncio.sleep(0.05)  # a busy machine at a tiny size: one answer is the least that can be measured
    answers, elapsed = sum(caller.answers for caller in callers) - before, time.perf_counter() - began
    for transport, _ in made:
        transport.close()
    failure = next((caller.failure for caller in callers if caller.failure), None)
    if failure or not answers:
        raise RuntimeError(f"an unexpected answer, or none: {failure}")
    return Load(answers / elapsed, callers[0].last)


if __name__ == "__main__":
    found = uvloop.run(_run(msgspec.json.decode(sys.stdin.buffer.read(), type=Spec)))
    sys.stdout.buffer.write(msgspec.json.encode(found))
