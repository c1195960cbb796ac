"""One running server for the tests of a worker that do not mind each other."""

from collections.abc import Iterator

import pytest

from tests.acceptance.serving import Served, serving


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), LOG_LEVEL="warning") as served:
        yield served
