"""A walk through a whole definition that does nothing of it.

It is the engine's own `Run`, folded in memory: what a task comes to is said by a mock, by its node type if that has no
effects (`rehearse`), or left open; time is virtual. What depends on something left open is unknown, never a failure.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec
from msgspec import structs

from engine import events as ev
from engine import limits
from engine.catalog import Catalog
from engine.compensation import address
from engine.documents import check_payload, pointer
from engine.drafts import Drafts, Ref
from engine.errors import Fault, Invalid, TaskError, TooLarge
from engine.expressions.templates import Template, compile_condition, compile_template
from engine.graph import ERROR_LABEL, CompiledGraph, Vertex
from engine.keeper import Keeper
from engine.mocks import Mocks, read_mocks
from engine.model import (
    DEFAULT_NAMESPACE,
    AwaitSignal,
    Completed,
    Failed,
    Failure,
    Graph,
    Outcome,
    Presentation,
    Result,
    TaskCall,
)
from engine.ports import Compiled, NewExecution
from engine.rendering import ConfigTemplate, at, replaced, steps_of
from engine.runner import Run
from engine.secrets import shown
from engine.slots import Slots
from engine.sources import Source
from engine.states import ExecutionStatus, TaskStatus, is_terminal
from engine.steps import Step as Commit

SECONDS = 10.0
"""What one walk may take, in real time."""
SHOWN = 8 * limits.PAYLOAD
"""Bytes of all configs and outputs, as JSON."""
UNKNOWN = "unknown"

_decode_graph = msgspec.json.Decoder(Graph).decode
_decode_presentation = msgspec.json.Decoder(Presentation).decode
_encode = msgspec.json.Encoder().encode


class Step(msgspec.Struct):
    """An attempt of a task, or why there was none.

    `status` is that of a task run, or `unknown`. `source` says where its outcome comes from; `calls`: really run, its
    node would do something. `at` and `waits` are seconds of virtual time. `unknown` are pointers into `config` to what
    is seen only in a real run: it stands there as it was written.
    """

    task: str
    name: str
    type: str
    status: str
    at: float
    attempt: int | None = None
    calls: bool = False
    source: Literal["mock", "evaluated", "open"] | None = None
    config: dict[str, Any] | None = None
    unknown: tuple[str, ...] = ()
    output: Any = None
    label: str | None = None
    error: Failure | None = None
    waits: float | None = None
    reason: str | None = None


class DryRun(msgspec.Struct, frozen=True):
    """What came of it. `status` is that of an execution, or `unknown` when it depends on a way that is left open.

    `path` are the tasks that began, in order; `unknown` those whose output is left open (null in `output`). `secrets`
    are the names it refers to, on any way: whether they exist is not looked up here, and none is ever opened.
    """

    status: str
    output: Any
    error: Failure | None
    elapsed: float
    path: tuple[str, ...]
    unknown: tuple[str, ...]
    steps: tuple[Step, ...]
    warnings: tuple[Fault, ...]
    secrets: tuple[str, ...] = ()


def rehearse(compiled: Compiled, nodes: Catalog, value: Any, mocks: Mocks, now: float) -> DryRun:
    """Pure but for its time limit: `now` is the epoch at which it begins. Takes a while: not for the loop's thread.

    Raises `TooLarge` when it would take or show too much.
    """
    return _Walk(compiled, nodes, mocks, now).run(value)


class _Walk:
    def __init__(self, compiled: Compiled, nodes: Catalog, mocks: Mocks, now: float) -> None:
        graph = _decode_graph(compiled.graph)
        self._graph = CompiledGraph(graph, _decode_presentation(compiled.presentation))
        self._nodes = nodes
        self._mocks = mocks
        self._began = self._now = now
        self._until = time.monotonic() + SECONDS
        self._left = SHOWN
        self._steps: list[Step] = []
        self._last: dict[str, Step] = {}
        self._answers: dict[str, Literal["mock", "evaluated", "open"]] = {}
        self._waits: dict[str, AwaitSignal] = {}
        self._undecided: dict[str, None] = {}
        self._warnings: list[Fault] = []
        self.unknown: dict[str, None] = {}
        """Tasks whose output is left open."""
        self.open: dict[str, tuple[str, ...]] = {}
        """By task, the places in its rendered config that depend on them."""
        for vertex in self._graph.by_key.values():
            vertex.config = _OpenConfig(self, vertex, graph.conditions.get(vertex.key, ()))
            if vertex.when is not None:
                vertex.when = _OpenCondition(self, vertex.key, vertex.when)

    def run(self, value: Any) -> DryRun:
        run = Run(0, self._graph, Slots(limits.TASKS), _nobody)
        run.now = self._now
        run.begin(NewExecution(DEFAULT_NAMESPACE, 0, 0, ExecutionStatus.PENDING, True), value)
        while (commit := run.advance()) is None or not commit.ended:
            calls = []
            if commit is not None:
                run.committed(commit, self._now)
                self._record(commit)
                calls = commit.calls
            for call in calls:
                run.result(call, self._answer(call), 0.0)
            if calls:
                continue
            due = run.next_due()
            if due is None:
                break
            self._now = run.now = max(run.now, due)
        if commit is not None and commit.ended:
            self._record(commit)
        return self._told(run)

    # --- what a task comes to ---

    def _answer(self, call: TaskCall) -> Result:
        """The one place that decides it. A new kind of outcome: its task is mocked, or left open as in `_heard`."""
        is_open = bool(self.open.get(call.task))
        result: Result | None = None
        source: Literal["mock", "evaluated", "open"] = "evaluated"
        try:
            if not is_open:
                self._nodes.check(call)
            mocks = self._mocks.get(call.task)
            if mocks:
                source, result = "mock", mocks[min(call.attempt, len(mocks)) - 1].result
            elif not is_open:
                result = self._heard(call, self._nodes.rehearse(call))
        except TaskError as error:
            result = Failed(Failure(error.type, error.message, call.task), error.retryable)
        if result is None:
            source, result = "open", Completed()
            self._leave_open(call.task)
        else:
            self.unknown.pop(call.task, None)
        self._answers[call.task] = source
        return result

    def _heard(self, call: TaskCall, outcome: Outcome | None) -> Result | None:
        """What it comes to by itself; None: only the world could say."""
        if not isinstance(outcome, AwaitSignal):
            return outcome
        self._waits[call.task] = outcome
        return None

    def _leave_open(self, key: str) -> None:
        self.unknown[key] = None
        if self._graph.by_key[key].labels:
            self._undecided[key] = None
            message = f"which way {key!r} goes is seen only in a real run; say it with a mock that has a label"
            self.warn(message, key, "unknown_way")

    def warn(self, message: str, key: str, code: str) -> None:
        self._warnings.append(Fault(message, f"/mocks/{key}", code))

    # --- what is told ---

    def _record(self, commit: Commit) -> None:
        calls = {call.task: call for call in commit.calls}
        for event in commit.events:
            self._note(event, calls)

    def _note(self, event: ev.Event, calls: Mapping[str, TaskCall]) -> None:
        match event:
            case ev.TaskStarted(task=key, attempt=attempt):
                step = self._add(key, TaskStatus.RUNNING, attempt=attempt)
                step.calls = self._nodes.has_effects(step.type)
                if key in calls:
                    step.config = self._shown(shown(calls[key].config))
                    step.unknown = self.open.get(key, ())
            case ev.TaskCompleted(task=key, output=output, label=label):
                step = self._ended(key, TaskStatus.COMPLETED)
                step.output, step.label = self._shown(output), label
                if step.source == "open" and (wait := self._waits.pop(key, None)) is not None:
                    step.waits, step.reason = wait.timeout, wait.ask.reason if wait.ask else "waits for a signal"
            case ev.TaskFailed(task=key, error=error, retry_in=retry_in):
                status = TaskStatus.FAILED if retry_in is None else TaskStatus.RETRYING
                step = self._ended(key, status)
                step.error, step.waits = error, step.waits if retry_in is None else retry_in
            case ev.TaskSleeping(task=key, seconds=seconds, until=until):
                step = self._ended(key, TaskStatus.WAITING)
                step.waits = seconds if until is None else max(0.0, until - self._now)
            case ev.TaskAwaiting(task=key, timeout=timeout):
                self._ended(key, TaskStatus.WAITING).waits = timeout
            case ev.TaskSkipped(task=key, reason=reason):
                self._add(key, TaskStatus.SKIPPED).reason = reason
            case ev.TaskCancelled(task=key):
                self._ended(key, TaskStatus.CANCELLED)
            case _:
                pass  # of the execution as a whole, or told by the calls that follow

    def _add(self, key: str, status: TaskStatus, attempt: int | None = None) -> Step:
        names = self._graph.presentation.names
        kind = self._graph.by_key[key].task.type
        step = Step(key, names.get(key, key), kind, status, round(self._now - self._began, 6), attempt)
        self._steps.append(step)
        self._last[key] = step
        return step

    def _ended(self, key: str, status: TaskStatus) -> Step:
        step = self._last.get(key)
        if step is None or is_terminal(step.status) or step.status == TaskStatus.RETRYING:
            return self._add(key, status)
        step.status = status
        step.source = self._answers.get(key)
        return step

    def _shown(self, value: Any) -> Any:
        self._left -= len(_encode(value))
        if self._left < 0:
            raise TooLarge(f"the configs and outputs of this dry run have more than {SHOWN} bytes; try less at once")
        return value

    def watch(self) -> None:
        """Called with each rendering: what expressions cost is bounded one by one only."""
        if time.monotonic() > self._until:
            raise TooLarge(f"the dry run takes longer than {SECONDS:g} seconds; try less at once")

    def _told(self, run: Run) -> DryRun:
        status: str = run.state.status
        if not is_terminal(run.state.status):
            status = ExecutionStatus.WAITING
        elif self._undecided:
            self._open_ways()
            status = UNKNOWN if run.state.status is ExecutionStatus.COMPLETED else status
        return DryRun(
            status,
            self._shown(run.state.output()),
            run.state.error,
            round(self._now - self._began, 6),
            tuple(dict.fromkeys(step.task for step in self._steps if step.attempt is not None)),
            tuple(self.unknown),
            tuple(self._steps),
            tuple(self._warnings),
            tuple(sorted(set(_secrets(self._graph.by_key.values())))),
        )

    def _open_ways(self) -> None:
        """What was skipped behind a way that is left open might be taken."""
        todo = [self._graph.by_key[key] for key in self._undecided]
        seen: set[int] = set()
        for vertex in todo:
            for label, target in vertex.out:
                may_be_taken = label != ERROR_LABEL and (label is not None or vertex.key not in self._undecided)
                follower = self._graph.vertices[target]
                step = self._last.get(follower.key)
                if may_be_taken and target not in seen and step is not None and step.status == TaskStatus.SKIPPED:
                    seen.add(target)
                    step.status, step.reason = UNKNOWN, f"the way of {vertex.key!r} is left open"
                    todo.append(follower)


class _OpenConfig(ConfigTemplate):
    """The config of one task, rendered as far as is known."""

    __slots__ = ("_config", "_key", "_places", "_walk", "_whole")

    def __init__(self, walk: _Walk, vertex: Vertex, conditions: tuple[str, ...]) -> None:
        self._whole = vertex.config
        self._walk = walk
        self._key = vertex.key
        self._config = vertex.task.config
        self._places = conditions
        self.references, self.secrets = self._whole.references, self._whole.secrets

    def render(self, scope: Any) -> dict[str, Any]:
        self._walk.watch()
        self._walk.open.pop(self._key, None)
        if self._walk.unknown.keys().isdisjoint(self.references):
            return self._whole.render(scope)
        places: list[str] = []
        rest: Any = self._config
        conditions = []
        for place in self._places:
            steps = steps_of(self._config, place)
            written = at(self._config, steps)
            conditions.append((steps, self._piece(written, compile_condition(written)[0], scope, place, places)))
            rest = replaced(rest, steps, None)
        config = self._known(rest, scope, "", places)
        for steps, value in conditions:
            config = replaced(config, steps, value)
        self._walk.open[self._key] = tuple(places)
        return config  # type: ignore[no-any-return]

    def _known(self, value: Any, scope: Any, where: str, places: list[str]) -> Any:
        """What has names of its own, such as those of an item, means nothing by itself."""
        if isinstance(value, str) and "{{" in value:
            template, faults = compile_template(value)
            return value if faults else self._piece(value, template, scope, where, places)
        if isinstance(value, dict):
            return {k: self._known(child, scope, where + pointer(k), places) for k, child in value.items()}
        if isinstance(value, list):
            return [self._known(child, scope, where + pointer(i), places) for i, child in enumerate(value)]
        return value

    def _piece(self, written: Any, template: Template, scope: Any, where: str, places: list[str]) -> Any:
        if self._walk.unknown.keys().isdisjoint(template.references):
            return template.render(scope)
        places.append(where)
        return written


class _OpenCondition(Template):
    """The `when` of one task: taken to hold when that is not known."""

    __slots__ = ("_key", "_walk", "_whole")

    def __init__(self, walk: _Walk, key: str, whole: Template) -> None:
        self._whole = whole
        self._walk = walk
        self._key = key
        self.references, self.secrets, self.parts = whole.references, whole.secrets, whole.parts
        self.constant = whole.constant

    def render(self, scope: Any) -> Any:
        self._walk.watch()
        if self._walk.unknown.keys().isdisjoint(self.references):
            return self._whole.render(scope)
        message = f"whether {self._key!r} runs is seen only in a real run; here it does"
        self._walk.warn(message, self._key, "unknown_condition")
        return True


def _secrets(vertices: Iterable[Vertex]) -> Iterator[str]:
    """Of tasks, of what they run many times, and of what undoes them."""
    for vertex in vertices:
        yield from vertex.config.secrets
        if vertex.inner is not None:
            yield from _secrets([vertex.inner.vertex])


def _nobody(run: Run) -> None:
    """It is looked at anyway."""


class DryRuns:
    """The use case: one walk at a time, in a thread."""

    def __init__(self, drafts: Drafts, nodes: Catalog, keeper: Keeper) -> None:
        self._drafts = drafts
        self._keeper = keeper
        self._nodes = nodes
        self._turn = asyncio.Semaphore(1)

    async def run(self, what: Ref | Source, value: Any, mocks: Any, now: float) -> DryRun:
        """Of a document or a workflow. Raises `WorkflowNotFound`, `InvalidWorkflow`, `Invalid` (mocks), `TooLarge`."""
        check_payload(value, "input")
        compiled, warnings = await self._drafts.compiled(what)
        known, faults = read_mocks(mocks, keys_of(compiled), "/mocks")
        if faults:
            raise Invalid(faults[0].message, faults=faults, code=faults[0].code)
        async with self._turn:
            done = await asyncio.to_thread(rehearse, compiled, self._nodes, value, known, now)
        missing = [_missing(name) for name in await self._keeper.missing(done.secrets)]
        return structs.replace(done, warnings=(*warnings, *missing, *done.warnings))


def _missing(name: str) -> Fault:
    message = f"there is no secret {name!r}: a task that needs it would fail; make it with PUT /secrets/{name}"
    return Fault(message, pointer("secrets", name), "unknown_secret")


def keys_of(compiled: Compiled) -> tuple[str, ...]:
    """The keys of its tasks, and the addresses of what undoes them."""
    tasks = _decode_graph(compiled.graph).tasks
    return (*(task.key for task in tasks), *(address(task.key) for task in tasks if task.compensate is not None))
