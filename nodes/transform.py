"""`transform`: makes a new value of others, by templates."""

from typing import Any, ClassVar

import msgspec

from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import NodeContext, Shape


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """`mapping` is the output: an object, a list, or one template."""

    mapping: Any


class Transform:
    """Its output is what its mapping renders to."""

    type: ClassVar[str] = "transform"
    spellings: ClassVar[dict[str, str]] = {"output": "mapping", "value": "mapping"}
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        return self.rehearse(call, config)

    def rehearse(self, call: TaskCall, config: Config) -> Outcome:
        return Completed(config.mapping)


handler = Transform()
