"""What the engine and its bridge to Ray say to each other: frames of msgpack on a socket pair.

Calls and results stay JSON inside, so that every JSON value travels, and the bridge passes them on unread.
"""

import asyncio
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from engine.model import Resources, TaskCall

M = TypeVar("M")
_LENGTH = 4
"""Bytes before each frame that say how long it is."""


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """One frame."""


class Setup(_Message, frozen=True):
    """What a bridge needs to begin. `open_host` is a pickled `engine.task_ports.OpenHost`.

    `address` None: a Ray of its own. `namespace` tells the actors of one installation from those of another.
    """

    address: str | None
    namespace: str
    open_host: bytes
    threads: int
    environment: dict[str, str]


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """A call on its way; `payload` is the `TaskCall` as JSON. With `resources` it gets a worker of its own."""

    id: str
    payload: bytes
    resources: Resources | None = None


class Done(msgspec.Struct, frozen=True, array_like=True):
    """A result on its way; `payload` is the `Result` as JSON, `elapsed` is in seconds."""

    id: str
    payload: bytes
    elapsed: float


class Submit(_Message, frozen=True):
    """Begin all."""

    calls: list[Sent]


class Attach(_Message, frozen=True):
    """Find these, which another bridge began; those that nobody knows come back as `Gone`."""

    ids: list[str]


class Cancel(_Message, frozen=True):
    """Stop them; nothing is to be said of them."""

    ids: list[str]


class Forget(_Message, frozen=True):
    """Let them run for somebody else; nothing is to be said of them."""

    ids: list[str]


class Stop(_Message, frozen=True):
    """The engine ends."""


ToBridge = Setup | Submit | Attach | Cancel | Forget | Stop


class Ready(_Message, frozen=True):
    """Calls can come."""


class Refused(_Message, frozen=True):
    """The bridge ends; `lasting` when another try would end alike."""

    message: str
    lasting: bool


class Results(_Message, frozen=True):
    """Calls that have ended."""

    done: list[Done]


class Gone(_Message, frozen=True):
    """Calls whose worker died (`suspect`), or that no worker knows."""

    ids: list[str]
    reason: str
    suspect: bool


FromBridge = Ready | Refused | Results | Gone

read_to_bridge = msgspec.msgpack.Decoder(ToBridge).decode
read_from_bridge = msgspec.msgpack.Decoder(FromBridge).decode
read_calls = msgspec.msgpack.Decoder(list[Sent]).decode
read_done = msgspec.msgpack.Decoder(list[Done]).decode
pack = msgspec.msgpack.Encoder().encode


def frame(message: ToBridge | FromBridge) -> bytes:
    """`message` as it goes over the socket."""
    body = pack(message)
    return len(body).to_bytes(_LENGTH) + body


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The body of the next frame; None when the other side is gone."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH))
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, OSError):
        return None


def batches(calls: Iterable[Sent], most: int) -> Iterable[list[Sent]]:
    """`calls` in lists of at most `most` bytes each, at least one call in each."""
    batch: list[Sent] = []
    size = 0
    for call in calls:
        if batch and size + len(call.payload) > most:
            yield batch
            batch, size = [], 0
        batch.append(call)
        size += len(call.payload)
    if batch:
        yield batch


def call_id(call: TaskCall) -> str:
    """The same for the same attempt, whoever asks."""
    return f"e{call.execution_id}-t{call.task}-i{call.iteration or 0}-a{call.attempt}"
