"""`python -m benchmarks.grpc_load`: so many callers in one process, each with one call under way at a time.

Reads a `Spec` as JSON, answers a `Load`. Bytes go out and come in as they are, so that the client costs the same
whatever it calls.
"""

import asyncio
import itertools
import statistics
import sys
import time
from typing import Any

import grpc
import msgspec
import uvloop

from benchmarks.child import ask


class Spec(msgspec.Struct):
    """`requests` are sent in turn; those before `seconds` begin are not counted."""

    target: str
    method: str
    requests: list[bytes]
    callers: int
    seconds: float
    warm: float = 0.2


class Load(msgspec.Struct):
    """Calls per second, the median call in ms, and the last answer."""

    rate: float
    p50: float
    answer: bytes


def call(spec: Spec) -> Load:
    """In a process of its own."""
    sent: dict[str, Any] = msgspec.to_builtins(spec)
    return msgspec.convert(ask("grpc_load", sent), Load)


async def rate(spec: Spec) -> float:
    """Calls per second."""
    return call(spec).rate


async def _run(spec: Spec) -> Load:
    async with grpc.aio.insecure_channel(spec.target) as channel:
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(spec.method)
        requests = itertools.cycle(spec.requests)
        times: list[float] = []
        begin = time.perf_counter() + spec.warm
        end = begin + spec.seconds

        async def caller() -> bytes:
            answer = b""
            while (began := time.perf_counter()) < end or not times:
                answer = await method(next(requests))
                if began >= begin:
                    times.append(time.perf_counter() - began)
            return answer

        answers = await asyncio.gather(*(caller() for _ in range(spec.callers)))
        elapsed = time.perf_counter() - begin
    return Load(len(times) / elapsed, statistics.median(times) * 1000, answers[-1])


if __name__ == "__main__":
    found = uvloop.run(_run(msgspec.json.decode(sys.stdin.buffer.read(), type=Spec)))
    sys.stdout.buffer.write(msgspec.json.encode(found))
