"""`sub_workflow`: executes another workflow, and waits for its end or goes on."""

from typing import Annotated, Any, ClassVar

import msgspec

from engine import limits
from engine.model import Outcome, StartChild, TaskCall
from engine.task_ports import NodeContext, Shape

Text = Annotated[str, msgspec.Meta(max_length=limits.NAME)]
Ref = (
    Annotated[int, msgspec.Meta(ge=1, le=limits.MAX_INTEGER)]
    | Annotated[str, msgspec.Meta(min_length=1, max_length=limits.NAME)]
)


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """`workflow` is an id or a key, `version` a number of its versions: without it, the one that is current by then.

    `wait` false: the task does not wait for the end, and the execution goes on whatever becomes of this one.
    """

    workflow: Ref
    version: Annotated[int, msgspec.Meta(ge=1, le=limits.MAX_INTEGER)] | None = None
    input: Any = None
    wait: bool = True
    labels: Annotated[dict[Text, Text], msgspec.Meta(max_length=limits.LABELS)] = {}


class SubWorkflow:
    """Its output is that of the other execution, or `execution_id` if it does not wait."""

    type: ClassVar[str] = "sub_workflow"
    aliases: ClassVar[tuple[str, ...]] = ("subworkflow", "child_workflow", "execute_workflow", "run_workflow")
    spellings: ClassVar[dict[str, str]] = {
        "workflow_id": "workflow",
        "workflow_key": "workflow",
        "workflow_version": "version",
        "inputs": "input",
        "parameters": "input",
        "payload": "input",
        "data": "input",
        "wait_for_completion": "wait",
    }
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = False

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        ref = config.workflow
        if isinstance(ref, str) and ref.isdecimal():
            ref = int(ref)
        return StartChild(ref, config.version, config.input, config.wait, config.labels)


handler = SubWorkflow()
