"""Running tasks, in an engine or in a worker that has no database: node types, and what they may use of the world."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog

from bootstrap.alone import Suspects
from bootstrap.settings import Settings, load_settings
from egress.client import HttpClient
from engine import registry
from engine.catalog import Catalog
from engine.connections import Connections
from engine.task_ports import Host, NodeContext


def catalog(settings: Settings) -> Catalog:
    """The node types and executors of this installation."""
    if settings.nodes_dir is not None:
        registry.extend("nodes", settings.nodes_dir)
    executors = [name.removesuffix("_executor") for name in registry.names("executors")]
    return Catalog(registry.scan("nodes", "handler"), executors)


@asynccontextmanager
async def open_host() -> AsyncIterator[Host]:
    """For a process of its own: settings from its environment."""
    settings = load_settings()
    async with host(settings, catalog(settings)) as opened:
        yield opened


@asynccontextmanager
async def host(settings: Settings, nodes: Catalog) -> AsyncIterator[Host]:
    """Runs calls of `nodes` with a context of this process."""
    connections = Connections(settings.connections, nodes.connection_kinds())
    async with HttpClient(allow_private=settings.egress_allow_private) as http:
        context = NodeContext(http, structlog.get_logger("node"), connections)
        suspects = Suspects(open_host)
        try:
            yield Host(partial(nodes.run, context=context), nodes.is_blocking, suspects.run)
        finally:
            await suspects.close()
