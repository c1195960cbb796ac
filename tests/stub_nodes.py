"""The node types of this installation, and a stand-in for each that the documents name and that is not built yet."""

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from bootstrap import tasks
from bootstrap.settings import Settings
from engine import registry
from engine.catalog import Catalog
from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import NodeContext

NAMED = ("start", "send_notification", "http_call", "http", "llm", "code", "branch", "conditional", "approval")


class Open(msgspec.Struct):
    """Takes any config."""


def stub(name: str) -> Any:
    """A handler that completes; one with cases takes the first."""

    class Stub:
        type: ClassVar[str] = name
        shape: ClassVar[Any] = Open
        blocking: ClassVar[bool] = False

        def run(self, call: TaskCall, config: Open, context: NodeContext) -> Outcome:
            cases = call.config.get("cases")
            return Completed(call.config, cases[0]["label"] if cases else None)

    return Stub()


def catalog(names: Sequence[str] = NAMED) -> Catalog:
    """With stand-ins for those of `names` that are missing."""
    real = tasks.catalog(Settings())
    missing = [name for name in names if real.resolve(name) is None]
    return Catalog([*registry.scan("nodes", "handler"), *map(stub, missing)], real.executors())
