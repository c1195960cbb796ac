"""A bounded map: least recently used entries go first, expired ones are not found."""

import time
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")

OVERHEAD = 400
"""Bytes that an entry costs beside its key and value."""


class Lru(Generic[Value]):
    """Bounded by entries and by bytes. An entry larger than an eighth of all bytes is not kept."""

    __slots__ = ("_bytes", "_entries", "_max_bytes", "_max_entries")

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._entries: OrderedDict[bytes, tuple[Value, int, float]] = OrderedDict()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Value | None:
        entry = self._entries.get(key)
        if entry is None or entry[2] < time.monotonic():
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: bytes, value: Value, size: int, ttl: float) -> list[tuple[bytes, Value]]:
        """Returns the entries that are gone because of it: the replaced one and the evicted ones."""
        gone = self.pop(key)
        size += len(key) + OVERHEAD
        if size > self._max_bytes // 8:
            return gone
        self._entries[key] = (value, size, time.monotonic() + ttl)
        self._bytes += size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            old, (old_value, old_size, _) = self._entries.popitem(last=False)
            self._bytes -= old_size
            gone.append((old, old_value))
        return gone

    def pop(self, key: bytes) -> list[tuple[bytes, Value]]:
        """The entry that was there, if any."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return []
        self._bytes -= entry[1]
        return [(key, entry[0])]

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0
