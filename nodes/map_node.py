"""`map`: runs one task for each item of a list."""

import math
import re
from typing import Annotated, Any, ClassVar

import msgspec

from engine import limits
from engine.bodies import Body
from engine.errors import TaskError
from engine.model import FanOut, Outcome, TaskCall
from engine.task_ports import NodeContext, Shape

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?) ?%")


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """`task` is run once for each of `items`, its templates with `item` and `index` (from 0).

    At most `max_parallel` are open at once. `tolerate_failures` may fail: a number of items, or a part of them, written
    as a number below 1 or as `20%`.
    """

    items: list[Any]
    task: Body
    max_parallel: Annotated[int, msgspec.Meta(ge=1, le=limits.PARALLEL)] = 10
    tolerate_failures: Annotated[float, msgspec.Meta(ge=0, le=limits.ITEMS)] | str = 0

    def __post_init__(self) -> None:
        self.tolerated()

    def tolerated(self) -> int:
        """How many of the items may fail."""
        given = self.tolerate_failures
        if isinstance(given, str):
            found = _PERCENT.fullmatch(given.strip())
            if found is None or float(found[1]) > 100:
                raise ValueError("tolerate_failures: a number of items, a number below 1, or a text such as 20%")
            return math.floor(len(self.items) * float(found[1]) / 100)
        if given >= 1 and given != int(given):
            raise ValueError("tolerate_failures: a part of the items is below 1, a number of items is whole")
        return int(given) if given >= 1 else math.floor(len(self.items) * given)


class Map:
    """Runs a task for each item of a list, several at once; an item that has completed never runs again.

    Output: `{"results": […], "errors": [{"index", "type", "message"}, …]}`, the results in the order of the items, null
    for one that failed. When more items fail than may, what still runs is cancelled and the map fails (`items_failed`).
    """

    type: ClassVar[str] = "map"
    aliases: ClassVar[tuple[str, ...]] = ("for_each",)
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        count = len(config.items)
        if count > limits.ITEMS:
            message = f"items has {count} items; at most {limits.ITEMS} are allowed: split the list"
            raise TaskError(message, type="too_many_items", retryable=False)
        return FanOut(count, config.max_parallel, config.tolerated())


handler = Map()
