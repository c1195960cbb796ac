"""Running tasks, in an engine or in a worker that has no database: node types, and what they may use of the world."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from threading import Lock
from typing import Any

import structlog

from bootstrap.alone import Suspects
from bootstrap.settings import Settings, load_settings
from bootstrap.vault import open_vault
from egress.client import HttpClient
from engine import registry
from engine.authoring import Authoring
from engine.catalog import Catalog
from engine.connections import Connections
from engine.errors import ConfigurationError
from engine.task_ports import Host, NodeContext


class Lazily:
    """A service that is made when it is first used: a process that never uses it never imports it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None
        self._lock = Lock()

    def __getattr__(self, name: str) -> Any:
        with self._lock:
            if self._made is None:
                self._made = self._make()
        return getattr(self._made, name)

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()


def catalog(settings: Settings) -> Catalog:
    """The node types and executors of this installation."""
    if settings.nodes_dir is not None:
        registry.extend("nodes", settings.nodes_dir)
    executors = [name.removesuffix("_executor") for name in registry.names("executors")]
    return Catalog(registry.scan("nodes", "handler"), executors)


def authoring(nodes: Catalog) -> Authoring:
    """The dialects of this installation, over its node types."""
    return Authoring(registry.scan("definitions", "dialect"), nodes)


@asynccontextmanager
async def open_host() -> AsyncIterator[Host]:
    """For a process of its own: settings from its environment."""
    settings = load_settings()
    async with host(settings, catalog(settings)) as opened:
        yield opened


@asynccontextmanager
async def host(settings: Settings, nodes: Catalog) -> AsyncIterator[Host]:
    """Runs calls of `nodes` with a context of this process."""
    if f"{settings.code_runner}_runner" not in registry.names("sandbox"):
        raise ConfigurationError(f"CODE_RUNNER: there is no sandbox/{settings.code_runner}_runner.py")
    connections = Connections(settings.connections, nodes.connection_kinds())
    async with HttpClient(allow_private=settings.egress_allow_private) as http, AsyncExitStack() as stack:
        code = Lazily(partial(_open, "sandbox", f"{settings.code_runner}_runner", "open_runner"))
        sql = Lazily(partial(_open, "egress", "sql", "open_databases"))
        stack.push_async_callback(code.close)
        stack.push_async_callback(sql.close)
        vault = open_vault(settings.secret_keys.get_secret_value())
        context = NodeContext(http, structlog.get_logger("node"), connections, code, sql, vault)
        suspects = Suspects(open_host)
        stack.push_async_callback(suspects.close)
        yield Host(partial(nodes.run, context=context), nodes.is_blocking, suspects.run)


def _open(room: str, module: str, attribute: str, *arguments: Any) -> Any:
    return registry.load(room, module, attribute)(*arguments)
