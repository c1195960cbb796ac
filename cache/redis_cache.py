"""The response cache of many processes: coherent, because every hit asks Redis whether its tags are still the same.

Each tag has a *generation*: a random value in Redis. A fill carries the generations it saw before its read; it is a
hit as long as they are the present ones. A writer removes them before its commit and after it, and leaves a *mark*
in between that keeps new fills out. Nobody can bring an old generation back: not an eviction, not FLUSHALL, and not
a server that restarts with an old snapshot, because every key carries the id of the server's run.

    reader: begin (marks, generations) -> read -> put           writer: mark, remove -> commit -> remove, unmark
    hit:    the bytes at hand, the generations in one round trip shared by all requests of the moment

A write that could not be announced is a debt, paid before this process uses Redis again: every entry of every process
ends. Its answer waits for that as long as the broken link may be an accident. Two lives bound what is left: an entry's
(<= 30 s) a writer that died in between, or is cut off from a Redis that others still reach; the mark's (30 s) its mark.
"""

import secrets
from collections.abc import Sequence

import msgspec
from redis.exceptions import RedisError

from cache._lru import Lru
from cache._redis_link import LinkDown, RedisLink

LIFE = 30.0
"""Seconds that an entry, and the mark of a writer that never came back, live at most."""
GENERATION_LIFE = 600
EVERYTHING = "*"
"""The tag of every entry."""
ENTRIES = 10_000
BYTES = 32 * 1024 * 1024

# INCR and PEXPIRE may fail when Redis is out of memory; DEL never does, and is what counts.
_MARK = """
for i = 1, #KEYS, 2 do
  redis.pcall('INCR', KEYS[i])
  redis.pcall('PEXPIRE', KEYS[i], ARGV[1])
  redis.call('DEL', KEYS[i + 1])
end
return 1
"""
_SETTLE = """
for i = 1, #KEYS, 2 do
  if tonumber(redis.call('GET', KEYS[i]) or '0') <= 1 then
    redis.call('DEL', KEYS[i])
  else
    redis.pcall('DECR', KEYS[i])
  end
  redis.call('DEL', KEYS[i + 1])
end
return 1
"""


class _Token(msgspec.Struct, frozen=True):
    """What a fill saw before its read: the generation keys and their values in one run of the server."""

    run: bytes
    generations: dict[bytes, bytes]


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    run: bytes
    generations: dict[bytes, bytes]
    value: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Entry).decode


class RedisCache:
    """Satisfies `engine.ports.ResponseCache`. `prefix` keeps two installations on one Redis apart."""

    def __init__(self, url: str, prefix: str = "millrace") -> None:
        self._link = RedisLink(url, self._pay)
        self._prefix = prefix.encode()
        self._local: Lru[_Entry] = Lru(ENTRIES, BYTES)
        self._in_debt = False

    async def start(self) -> None:
        await self._link.start()

    async def stop(self) -> None:
        await self._link.stop()

    # --- readers ---

    def get_local(self, key: bytes) -> bytes | None:
        return None

    async def get(self, key: bytes) -> bytes | None:
        run = self._link.run
        if run is None:
            return None
        try:
            entry = self._local.get(key)
            if entry is None or not await self._is_present(run, entry):
                entry = await self._fetch(run, key)
                if entry is None or not await self._is_present(run, entry):
                    return None
        except RedisError:
            return None
        return entry.value

    async def _is_present(self, run: bytes, entry: _Entry) -> bool:
        if entry.run != run:
            return False
        present = await self._link.values(entry.generations)
        return all(present[name] == generation for name, generation in entry.generations.items())

    async def _fetch(self, run: bytes, key: bytes) -> _Entry | None:
        """The entry that some process has filled; kept here for the rest of its life."""
        name = self._name(run, "e", key)
        data = await self._link.call("GET", name)
        if data is None:
            return None
        left = await self._link.call("PTTL", name)
        entry = _decode(data)
        if left > 0:
            self._keep(key, entry, left / 1000)
        return entry

    def _keep(self, key: bytes, entry: _Entry, ttl: float) -> None:
        self._local.put(key, entry, len(entry.value), ttl)

    async def begin(self, tags: Sequence[str]) -> object:
        run = self._link.run
        if run is None:
            return None
        try:
            generations = await self._generations(run, tags)
        except RedisError:
            return None
        return None if generations is None else _Token(run, generations)

    async def _generations(self, run: bytes, tags: Sequence[str]) -> dict[bytes, bytes] | None:
        """None while a tag is being written."""
        marks = [self._name(run, "w", tag) for tag in tags]
        names = [self._name(run, "g", tag) for tag in (*tags, EVERYTHING)]
        present = await self._link.values([*marks, *names])
        for name in names:
            if present[name] is None:
                await self._link.call("SET", name, secrets.token_bytes(9), "EX", GENERATION_LIFE, "NX")
        if any(present[name] is None for name in names):
            present = await self._link.values([*marks, *names])
        if any(present[mark] is not None for mark in marks):
            return None
        found = {name: value for name in names if (value := present[name]) is not None}
        return found if len(found) == len(names) else None

    async def put(self, key: bytes, value: bytes, tags: Sequence[str], token: object, ttl: float) -> None:
        if not isinstance(token, _Token) or token.run != self._link.run:
            return
        entry = _Entry(token.run, token.generations, value)
        life = min(ttl, LIFE)
        self._keep(key, entry, life)
        try:
            await self._link.call("SET", self._name(token.run, "e", key), _encode(entry), "PX", int(life * 1000))
        except RedisError:
            return

    # --- writers ---

    async def invalidate(self, tags: Sequence[str]) -> None:
        await self._tell(_MARK, tags)

    async def settle(self, tags: Sequence[str]) -> None:
        await self._tell(_SETTLE, tags)
        if self._in_debt:
            await self._link.verdict()

    async def _tell(self, script: str, tags: Sequence[str]) -> None:
        run = self._link.run
        if run is None:
            self._in_debt = True
            return
        keys = [self._name(run, kind, tag) for tag in tags for kind in ("w", "g")]
        try:
            await self._link.call("EVAL", script, len(keys), *keys, int(LIFE * 1000))
        except RedisError as error:
            self._in_debt = True
            await self._link.break_off(LinkDown(f"a write could not be announced: {error}"))

    async def _pay(self, run: bytes) -> None:
        """Before the link is used: ends every entry of every process if a write was not announced."""
        self._local.clear()
        while self._in_debt:
            self._in_debt = False
            try:
                await self._link.call("DEL", self._name(run, "g", EVERYTHING))
            except RedisError:
                self._in_debt = True
                raise

    def _name(self, run: bytes, kind: str, name: str | bytes) -> bytes:
        return b":".join((self._prefix, run, kind.encode(), name.encode() if isinstance(name, str) else name))


def open_cache(url: str, installation: str = "") -> RedisCache:
    """On the Redis at `url`; it may be down, now or later. Those of one `installation` share their entries."""
    return RedisCache(url, f"millrace:{installation}")
