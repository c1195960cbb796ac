"""The bounds of what is kept in process."""

from cache._lru import OVERHEAD, Lru
from cache.memory import MemoryCache


def test_the_least_recently_used_goes_first() -> None:
    lru: Lru[int] = Lru(2, 10**6)
    lru.put(b"a", 1, 1, 9)
    lru.put(b"b", 2, 1, 9)
    assert lru.get(b"a") == 1
    assert lru.put(b"c", 3, 1, 9) == [(b"b", 2)]
    assert (lru.get(b"a"), lru.get(b"b"), lru.get(b"c")) == (1, None, 3)


def test_bytes_are_bounded() -> None:
    lru: Lru[int] = Lru(1000, 10 * (OVERHEAD + 101))
    for number in range(50):
        lru.put(b"%c" % number, number, 100, 9)
    assert len(lru) == 10
    assert lru.get(b"%c" % 49) == 49
    lru.pop(b"%c" % 49)
    assert lru.put(b"n", 1, 100, 9) == []


def test_replacing_does_not_count_twice() -> None:
    lru: Lru[int] = Lru(10, 10 * (OVERHEAD + 101))
    for number in range(100):
        lru.put(b"k", number, 100, 9)
    lru.put(b"l", 1, 100, 9)
    assert (lru.get(b"k"), lru.get(b"l"), len(lru)) == (99, 1, 2)


def test_what_is_too_large_is_not_kept() -> None:
    lru: Lru[int] = Lru(10, 8000)
    lru.put(b"k", 1, 10, 9)
    assert lru.put(b"k", 2, 2000, 9) == [(b"k", 1)]
    assert lru.get(b"k") is None


async def test_an_evicted_entry_leaves_nothing_behind() -> None:
    cache = MemoryCache(max_entries=3)
    for number in range(100):
        await cache.put(b"%d" % number, b"v", [f"t{number}", "all"], await cache.begin(["all"]), 9)
    assert set(cache._keys) == {"all", "t97", "t98", "t99"}
    await cache.invalidate(["all"])
    await cache.settle(["all"])
    assert [cache.get_local(b"%d" % number) for number in range(100)] == [None] * 100
    assert cache._keys == {}
    assert len(cache._entries) == 0


async def test_a_fill_for_forgotten_tags_is_refused() -> None:
    cache = MemoryCache()
    token = await cache.begin(["t"])
    await cache.invalidate(["t"])
    await cache.settle(["t"])
    for number in range(100_001):
        cache._drop([f"x{number}"])
    await cache.put(b"k", b"old", ["t"], token, 9)
    assert cache.get_local(b"k") is None
