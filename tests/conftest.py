"""Fixtures that hand out real servers. See `tests/servers.py`."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from deploy.servers import PostgresServer, RedisServer
from tests import servers


def pytest_configure(config: pytest.Config) -> None:
    # each of some hundred processes would compile all that it imports
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if not hasattr(config, "workerinput"):
        servers.begin_run()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits longest begins first, so that nothing is left to wait for alone at the end."""
    items.sort(key=lambda item: "test_ray_executor.py" not in item.nodeid)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        servers.end_run()


@pytest.fixture(autouse=True, scope="session")
def _own_environment() -> None:
    """No setting of the developer's shell or `.env` reaches a test, and no sample becomes a workflow by itself."""
    for line in Path(".env.example").read_text().splitlines():
        if line and not line.startswith("#"):
            os.environ.pop(line.partition("=")[0], None)
    os.environ["WORKFLOWS_DIR"] = "no-workflows"


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The URL of the run's PostgreSQL."""
    return servers.postgres_server()


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A fresh, empty database."""
    with servers.database() as url:
        yield url


@pytest.fixture
def migrated_postgres_url() -> Iterator[str]:
    """A fresh database with our tables."""
    with servers.database(servers.migrated_template()) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A database file that does not exist yet."""
    return f"sqlite:///{tmp_path}/millrace.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each kind."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "migrated_postgres_url")
    return url


@pytest.fixture
def redis_url() -> str:
    """An empty Redis database that no other worker uses."""
    url = servers.redis_server()
    servers.flush(url)
    return url


class StartPostgres(Protocol):
    """Starts a PostgreSQL that the test may stop, crash and restart."""

    def __call__(self, *, port: int | None = None, settings: dict[str, str] | None = None) -> PostgresServer: ...


class StartRedis(Protocol):
    """Starts a Redis that the test may kill and restart."""

    def __call__(self, *, port: int | None = None, durable: bool = False) -> RedisServer: ...


@pytest.fixture
def start_postgres() -> Iterator[StartPostgres]:
    """Private servers, stopped after the test."""
    with ExitStack() as stack:

        def start(*, port: int | None = None, settings: dict[str, str] | None = None) -> PostgresServer:
            return stack.enter_context(PostgresServer(port=port, settings=settings))

        yield start


@pytest.fixture
def start_redis() -> Iterator[StartRedis]:
    """Private servers, stopped after the test."""
    with ExitStack() as stack:

        def start(*, port: int | None = None, durable: bool = False) -> RedisServer:
            return stack.enter_context(RedisServer(port=port, durable=durable))

        yield start
