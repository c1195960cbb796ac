"""The world that nodes of these tests may use: the guarded client, and servers of this machine."""

from collections.abc import AsyncIterator

import pytest
import structlog

from egress.client import HttpClient
from engine.connections import Connections
from engine.task_ports import NodeContext
from tests.unit.egress.web import Site, site


@pytest.fixture
async def context() -> AsyncIterator[NodeContext]:
    async with HttpClient(allow_private=True) as client:
        yield NodeContext(client, structlog.get_logger(), Connections({}, {}))


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site() as here:
        yield here
