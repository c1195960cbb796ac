"""`code`: a function of yours, in a sandbox."""

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import CodeLimits, NodeContext, Shape, Verbatim

MIB = 1024 * 1024


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """`code` defines `process(...)`; `input_mapping` gives its arguments by name, and may have templates."""

    code: Annotated[Verbatim, msgspec.Meta(min_length=1, max_length=64 * 1024)]
    input_mapping: dict[str, Any] = {}
    language: Literal["python"] = "python"
    timeout: Annotated[float, msgspec.Meta(gt=0, le=300)] = 5.0
    memory_mb: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 64

    def __post_init__(self) -> None:
        for name in self.input_mapping:
            if not name.isidentifier():
                raise ValueError(f"input_mapping: {name!r} cannot be an argument of a function")


class Code:
    """Runs Python without files, network or environment.

    Output: what `process` returns, which must be JSON; what it prints goes to the log.
    """

    type: ClassVar[str] = "code"
    spellings: ClassVar[dict[str, str]] = {"inputs": "input_mapping", "source": "code"}
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    async def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        limits = CodeLimits(config.timeout, config.memory_mb * MIB)
        value, printed = await context.code.run(config.code, config.input_mapping, limits)
        if printed:
            context.log.info("printed", execution=call.execution_id, task=call.task, text=printed)
        return Completed(value)


handler = Code()
