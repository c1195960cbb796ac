"""What the REST door and the drafts ask of a response cache."""

from collections.abc import Sequence
from typing import Protocol


class ResponseCache(Protocol):
    """Response bytes by key, invalidated by tag.

    A fill takes part only if none of its tags was written since `begin`: `begin` before the read, `put` after it.
    `invalidate` marks tags as being written (hits and fills miss), `settle` ends that after the commit.
    Every method treats a broken server as a miss and never raises.
    """

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def get_local(self, key: bytes) -> bytes | None:
        """A hit that needs no await, if this cache can prove it fresh without one; else None."""
        ...

    async def get(self, key: bytes) -> bytes | None: ...

    async def begin(self, tags: Sequence[str]) -> object:
        """A token for `put`."""
        ...

    async def put(self, key: bytes, value: bytes, tags: Sequence[str], token: object, ttl: float) -> None: ...

    async def invalidate(self, tags: Sequence[str]) -> None: ...

    async def settle(self, tags: Sequence[str]) -> None: ...
