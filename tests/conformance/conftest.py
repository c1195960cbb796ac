"""Every kind of store, empty and open."""

from collections.abc import AsyncIterator

import pytest

from engine.ports import Store
from tests.stores import opened


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database with our tables."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "migrated_postgres_url")
    return url


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    async with opened(store_url) as store:
        yield store


@pytest.fixture
async def lease(store: Store) -> int:
    """A live lease of the store."""
    return await store.acquire_lease("test", 60)
