"""The answer of a dry run, as it goes out."""

from typing import Any, Literal

import msgspec

from api.answers import FaultAnswer, encode
from api.execution_answers import FailureAnswer
from engine.dry_run import DryRun, Step
from engine.errors import Fault
from engine.model import Failure


class StepAnswer(msgspec.Struct, frozen=True):
    """An attempt of a task, or why there was none.

    `calls`: really run it would do something outside. `source` says where its outcome comes from: a mock, what its node
    type does without effects, or nowhere (`open`). `at` and `waits` are seconds of virtual time. `unknown` are pointers
    into `config` to templates that only a real run can render; they stand there as they were written.
    """

    task: str
    name: str
    type: str
    status: str
    at: float
    attempt: int | None
    calls: bool
    source: Literal["mock", "evaluated", "open"] | None
    config: dict[str, Any] | None
    unknown: tuple[str, ...]
    output: Any
    label: str | None
    error: FailureAnswer | None
    waits: float | None
    reason: str | None


class DryRunAnswer(msgspec.Struct, frozen=True):
    """What would be done, step by step, and how it would end; nothing was.

    `status` is `unknown` when that depends on a way that is left open. `path` are the tasks that began, in order,
    `unknown` those whose output is left open, `elapsed` seconds of virtual time. `secrets` are those that it refers to,
    never their values; a warning names each that does not exist.
    """

    status: str
    output: Any
    error: FailureAnswer | None
    elapsed: float
    path: tuple[str, ...]
    unknown: tuple[str, ...]
    steps: list[StepAnswer]
    warnings: list[FaultAnswer]
    secrets: tuple[str, ...]


def dry_run(done: DryRun) -> bytes:
    return encode(
        DryRunAnswer(
            done.status,
            done.output,
            _failure(done.error),
            done.elapsed,
            done.path,
            done.unknown,
            [_step(step) for step in done.steps],
            [_fault(fault) for fault in done.warnings],
            done.secrets,
        )
    )


def _step(step: Step) -> StepAnswer:
    fields = {name: getattr(step, name) for name in StepAnswer.__struct_fields__}
    return StepAnswer(**{**fields, "error": _failure(step.error)})


def _failure(error: Failure | None) -> FailureAnswer | None:
    return None if error is None else FailureAnswer(error.type, error.message, error.task)


def _fault(fault: Fault) -> FaultAnswer:
    return FaultAnswer(fault.pointer, fault.line, fault.message, fault.code)
