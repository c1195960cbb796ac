"""Sealed secrets in every store."""

from engine.model import Envelope
from engine.ports import Store
from tests.stores import SPACE

ONE = Envelope("one", "k1", b"\0nonce", b"\xff\0sealed", ("api.example.com",))


async def test_a_secret_is_kept_as_it_was_sealed(store: Store) -> None:
    made = await store.put_secret(SPACE, ONE)
    assert made.envelope == ONE
    assert made.created_at == made.updated_at
    assert await store.get_secrets(SPACE, ["one", "none"]) == {"one": made}
    assert await store.get_secrets(SPACE, []) == {}
    assert await store.get_secrets("elsewhere", ["one"]) == {}


async def test_a_new_value_takes_the_place_of_the_old_one(store: Store) -> None:
    made = await store.put_secret(SPACE, ONE)
    changed = await store.put_secret(SPACE, Envelope("one", "k2", b"n", b"c"))
    assert changed.envelope == Envelope("one", "k2", b"n", b"c")
    assert changed.created_at == made.created_at
    assert changed.updated_at >= made.updated_at
    assert await store.list_secrets(SPACE) == [changed]


async def test_secrets_are_listed_by_name_and_deleted_once(store: Store) -> None:
    for name in ("b", "a", "c"):
        await store.put_secret(SPACE, Envelope(name, "k1", b"n", b"c"))
    await store.put_secret("elsewhere", Envelope("a", "k1", b"n", b"c"))
    assert [secret.envelope.name for secret in await store.list_secrets(SPACE)] == ["a", "b", "c"]
    assert await store.delete_secret(SPACE, "a")
    assert not await store.delete_secret(SPACE, "a")
    assert [secret.envelope.name for secret in await store.list_secrets(SPACE)] == ["b", "c"]
    assert len(await store.list_secrets("elsewhere")) == 1
