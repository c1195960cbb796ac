"""The response cache of a process that is the only writer: a write drops its entries, so a hit is one look-up."""

from collections.abc import Sequence

from cache._lru import Lru

ENTRIES = 20_000
BYTES = 64 * 1024 * 1024
WRITTEN_TAGS = 100_000
"""Tags whose last write is remembered; beyond it all fills in flight are refused once."""


class MemoryCache:
    """Satisfies `engine.ports.ResponseCache`. A token is the number of the last write when the fill began."""

    def __init__(self, max_entries: int = ENTRIES, max_bytes: int = BYTES) -> None:
        self._entries: Lru[tuple[bytes, tuple[str, ...]]] = Lru(max_entries, max_bytes)
        self._keys: dict[str, set[bytes]] = {}
        self._writing: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self._writes = 0
        self._forgotten = 0

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self._entries.clear()
        self._keys.clear()

    def get_local(self, key: bytes) -> bytes | None:
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    async def get(self, key: bytes) -> bytes | None:
        return self.get_local(key)

    async def begin(self, tags: Sequence[str]) -> object:
        return self._writes

    async def put(self, key: bytes, value: bytes, tags: Sequence[str], token: object, ttl: float) -> None:
        if not isinstance(token, int) or not self._is_fresh(tags, token):
            return
        for tag in tags:
            self._keys.setdefault(tag, set()).add(key)
        self._forget(self._entries.put(key, (value, tuple(tags)), len(value), ttl), keep=key)

    def _is_fresh(self, tags: Sequence[str], token: int) -> bool:
        """Whether no tag is being written, or was since `token`."""
        return token >= self._forgotten and not any(
            tag in self._writing or self._written.get(tag, 0) > token for tag in tags
        )

    async def invalidate(self, tags: Sequence[str]) -> None:
        for tag in tags:
            self._writing[tag] = self._writing.get(tag, 0) + 1
        self._drop(tags)

    async def settle(self, tags: Sequence[str]) -> None:
        for tag in tags:
            left = self._writing.get(tag, 0) - 1
            if left > 0:
                self._writing[tag] = left
            else:
                self._writing.pop(tag, None)
        self._drop(tags)

    def _drop(self, tags: Sequence[str]) -> None:
        """Removes what has one of these tags, and refuses the fills that began before."""
        self._writes += 1
        if len(self._written) > WRITTEN_TAGS:
            self._written.clear()
            self._forgotten = self._writes
        for tag in tags:
            self._written[tag] = self._writes
            for key in self._keys.pop(tag, ()):
                self._forget(self._entries.pop(key))

    def _forget(self, gone: list[tuple[bytes, tuple[bytes, tuple[str, ...]]]], keep: bytes | None = None) -> None:
        for key, (_, tags) in gone:
            for tag in tags if key != keep else ():
                keys = self._keys.get(tag)
                if keys is not None:
                    keys.discard(key)
                    if not keys:
                        del self._keys[tag]


def open_cache() -> MemoryCache:
    """For a process that no other one shares its database with."""
    return MemoryCache()
