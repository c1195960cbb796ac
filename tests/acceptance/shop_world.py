"""A server with the samples of `workflows/`, and the services that they call: a shop, and a language model."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.shop import Shop, shop
from deploy.processes import ROOT
from tests.acceptance.serving import PATIENCE, Served, serving
from tests.model_server import ModelServer, model_server


@contextmanager
def models_in_a_thread() -> Iterator[ModelServer]:
    """The model server, while the test itself waits for answers."""
    ready = threading.Event()
    found: list[tuple[ModelServer, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with model_server() as models:
            done = asyncio.Event()
            found.append((models, asyncio.get_running_loop(), done))
            ready.set()
            await done.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    models, loop, done = found[0]
    try:
        yield models
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)
        assert not thread.is_alive()


class World:
    """A server with the samples, and all that they call."""

    def __init__(self, served: Served, stores: Shop, models: ModelServer) -> None:
        self.served = served
        self.shop = stores
        self.models = models

    def start(self, key: str, value: dict[str, Any]) -> int:
        number: int = self.served.rest("POST", f"/workflows/{key}/execute", {"input": value})["execution_id"]
        return number

    def ended(self, execution: int) -> dict[str, Any]:
        return self._until(execution, lambda view: view["status"] in ("completed", "failed", "cancelled"))

    def waiting(self, execution: int) -> dict[str, Any]:
        return self._until(execution, lambda view: view["status"] == "waiting")

    def _until(self, execution: int, holds: Any) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while True:
            view: dict[str, Any] = self.served.rest("GET", f"/executions/{execution}")
            if holds(view):
                return view
            assert time.monotonic() < deadline, view
            time.sleep(0.05)

    def statuses(self, execution: int) -> dict[str, str]:
        return {step["key"]: step["status"] for step in self.served.rest("GET", f"/executions/{execution}/steps")}

    def approve(self, execution: int, task: str, **words: Any) -> Any:
        return self.served.rest("POST", f"/executions/{execution}/tasks/{task}/approve", words)


@contextmanager
def opened(folder: Path) -> Iterator[World]:
    """Until the block ends."""
    with shop() as stores, models_in_a_thread() as models:
        connection = {"kind": "llm", "base_url": models.base_url, "api_key": "sk-local"}
        settings = {"WORKFLOWS_DIR": str(ROOT / "workflows"), "CONNECTIONS": json.dumps({"models": connection})}
        with serving(folder, **settings) as served:
            yield World(served, stores, models)
