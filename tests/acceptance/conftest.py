"""Running servers for the tests of a worker that do not mind each other."""

from collections.abc import Iterator

import pytest

from tests.acceptance import shop_world
from tests.acceptance.serving import Served, serving
from tests.acceptance.shop_world import World


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), LOG_LEVEL="warning") as served:
        yield served


@pytest.fixture(scope="session")
def open_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with shop_world.opened(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture
def world(open_world: World) -> World:
    """With the samples, and services that nobody has asked yet."""
    open_world.shop.asked.clear()
    return open_world
