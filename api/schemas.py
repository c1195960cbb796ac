"""The bodies that are accepted. Strict: no field beyond these, no value bent into a type."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine import limits
from engine.actions import NewAction
from engine.model import DEFAULT_NAMESPACE, Budget, Compensation, Resources, RetryPolicy
from engine.ports import NewTask, NewWorkflow


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def given() -> Any:
    """A field that may be left out, and is then left as it is."""
    return Field(default=None, json_schema_extra=_no_default)


_KEY = r"^[A-Za-z0-9_.-]*[A-Za-z_.-][A-Za-z0-9_.-]*$"
_ACTION = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
_TASK_KEY = r"^[A-Za-z0-9_-]+$"
PATTERNS = {
    _ACTION: "the name of an action has letters, digits, '_', '-' and '.', and begins with none of the last two",
    _KEY: "a key has letters, digits, '_', '-' and '.', not digits alone",
    _TASK_KEY: "the key of a task has letters, digits, '_' and '-'",
}
"""What is said of a text that does not fit."""
Name = Annotated[str, Field(min_length=1, max_length=limits.NAME, pattern=r"\S", description="What people call it.")]
Description = Annotated[str, Field(max_length=limits.DESCRIPTION, description="What it is for.")]
WorkflowKey = Annotated[
    str,
    Field(
        max_length=limits.NAME,
        pattern=_KEY,
        description="A unique word to call it by in place of the id; not digits alone.",
        examples=["nightly-report"],
    ),
]
TaskKey = Annotated[
    str,
    Field(
        max_length=limits.NAME,
        pattern=_TASK_KEY,
        description="What templates and `depends_on` call it; unique in the workflow, made if left out.",
        examples=["fetch"],
    ),
]
Order = Annotated[
    int,
    Field(ge=-(2**31), le=2**31 - 1, description="Its place; after the last if left out.", examples=[1]),
]
ExecutionType = Annotated[
    Literal["sync", "async"],
    Field(description="sync: the next task waits for its end. async: it runs beside what follows."),
]
NodeType = Annotated[
    str,
    Field(
        min_length=1,
        max_length=limits.NAME,
        description="What it does; left out: nothing, for `parameters.duration` seconds.",
        examples=["http_request"],
    ),
]
Parameters = Annotated[
    dict[str, Any],
    Field(
        description="The config of its type. Strings may hold templates: {{input.x}}, {{tasks.key.output.y}}.",
        examples=[{"duration": 1}],
    ),
]
DependsOn = Annotated[
    list[Annotated[str, Field(max_length=limits.NAME)]],
    Field(max_length=limits.TASKS, description="Keys of tasks that must have ended before."),
]
When = Annotated[
    bool | Annotated[str, Field(max_length=limits.TEMPLATE)] | dict[str, Any],
    Field(
        description="Whether it runs: true, false, an expression, or a JSONLogic object.",
        examples=["{{input.total}} > 100", {"==": [{"var": "customer.kind"}, "gold"]}],
    ),
]
Timeout = Annotated[
    float, Field(gt=0, le=limits.DURATION, description="Seconds that one attempt may take.", examples=[30])
]
WorkflowTimeout = Annotated[
    float,
    Field(
        gt=0,
        le=limits.DURATION,
        description="Seconds from the start of an execution to its end at the latest, waits included.",
        examples=[3600],
    ),
]
ExecutorName = Annotated[
    str, Field(min_length=1, max_length=limits.NAME, description="Where it runs; left out: the default.")
]
HeartbeatTimeout = Annotated[
    float, Field(gt=0, le=limits.DURATION, description="Seconds from one sign of life of an attempt to the next.")
]
TotalTimeout = Annotated[
    float, Field(gt=0, le=limits.DURATION, description="Seconds for all of it: attempts, waits and retries together.")
]
ConcurrencyKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=limits.TEMPLATE,
        description="Tasks of this workflow with the same key, a template, share `concurrency_limit`.",
        examples=["{{input.customer}}"],
    ),
]
Concurrency = Annotated[int, Field(ge=1, le=limits.CONCURRENCY)]
OnError = Annotated[
    str,
    Field(
        min_length=1,
        max_length=limits.NAME,
        description="When it has failed for good: `fail`, `continue`, or the key of the task that takes over.",
    ),
]


class Strict(BaseModel):
    """No unknown fields, no conversions."""

    model_config = ConfigDict(strict=True, extra="forbid")


class RetryBody(Strict):
    """How often and when a failed attempt is tried again. Intervals are seconds."""

    max_attempts: Annotated[int, Field(ge=1, le=10_000)] = 1
    initial_interval: Annotated[float, Field(ge=0, le=31_536_000)] = 1.0
    backoff_coefficient: Annotated[float, Field(ge=1, le=100)] = 2.0
    maximum_interval: Annotated[float, Field(ge=0, le=31_536_000)] = 3600.0
    jitter: Annotated[float, Field(ge=0, le=1, description="Lengthens a wait by up to this part of itself.")] = 0.0
    non_retryable: Annotated[
        list[Annotated[str, Field(max_length=limits.NAME)]],
        Field(max_length=100, description="Error types that end the task at once."),
    ] = []

    def policy(self) -> RetryPolicy:
        return RetryPolicy(
            self.max_attempts,
            float(self.initial_interval),
            float(self.backoff_coefficient),
            float(self.maximum_interval),
            float(self.jitter),
            tuple(self.non_retryable),
        )


class ResourcesBody(Strict):
    """What an attempt needs of a Ray cluster; `memory` in bytes."""

    num_cpus: Annotated[float, Field(ge=0, le=10_000)] | None = None
    num_gpus: Annotated[float, Field(ge=0, le=10_000)] | None = None
    memory: Annotated[int, Field(ge=1, le=2**50)] | None = None

    def needs(self) -> Resources:
        cpus, gpus = (None if n is None else float(n) for n in (self.num_cpus, self.num_gpus))
        return Resources(cpus, gpus, self.memory)


class BudgetBody(Strict):
    """What the language models of one execution may take; at least one of the two.

    Who would take more fails with `budget_exceeded`, or asks for more with an approval.
    """

    cost: Annotated[float, Field(ge=0, le=1e12, examples=[1.5])] | None = None
    tokens: Annotated[int, Field(ge=0, le=2**53, examples=[100_000])] | None = None
    on_exceeded: Literal["fail", "ask"] = "fail"

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.cost is None and self.tokens is None:
            raise ValueError("a budget has a cost, or tokens, or both")
        return self

    def value(self) -> Budget:
        return Budget(self.cost, self.tokens, self.on_exceeded)


class WorkflowBody(Strict):
    """A workflow to be created."""

    name: Name
    description: Description | None = None
    key: WorkflowKey | None = None
    max_concurrency: Annotated[
        Concurrency | None, Field(description="Its tasks that run at once, over all executions and engines.")
    ] = None
    timeout: WorkflowTimeout | None = None
    budget: BudgetBody | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "Data Processing Workflow", "description": "Process and transform data files"}]
        }
    )

    def new(self) -> NewWorkflow:
        return NewWorkflow(
            DEFAULT_NAMESPACE,
            self.name,
            self.key,
            self.description,
            max_concurrency=self.max_concurrency,
            timeout=self.timeout,
            budget=None if self.budget is None else self.budget.value(),
        )


class WorkflowChanges(Strict):
    """The fields to change; the others stay."""

    name: Name = given()
    description: Description | None = given()
    key: WorkflowKey | None = given()
    max_concurrency: Concurrency | None = given()
    timeout: WorkflowTimeout | None = given()
    budget: BudgetBody | None = given()

    model_config = ConfigDict(json_schema_extra={"examples": [{"description": "Every night at two"}]})

    def changes(self) -> dict[str, Any]:
        given = self.model_dump(exclude_unset=True)
        return given | {"budget": self.budget.value()} if self.budget is not None else given


class CompensationBody(Strict):
    """What undoes the task, once it has completed, when its execution fails or is cancelled."""

    type: Annotated[str, Field(min_length=1, max_length=limits.NAME, description="What it does.")]
    config: Parameters = {}
    retry: RetryBody = RetryBody()
    timeout: Timeout | None = None
    executor: ExecutorName | None = None
    heartbeat_timeout: HeartbeatTimeout | None = None
    resources: ResourcesBody = ResourcesBody()

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"type": "http_request", "config": {"method": "DELETE", "url": "{{charge.output.body.url}}"}}]
        }
    )

    def compensation(self) -> Compensation:
        return Compensation(
            self.type,
            self.config,
            self.retry.policy(),
            self.timeout,
            self.executor,
            self.heartbeat_timeout,
            self.resources.needs(),
        )


class TaskBody(Strict):
    """A task to be added."""

    name: Name
    description: Description | None = None
    order: Order | None = None
    execution_type: ExecutionType = "sync"
    parameters: Parameters = {}
    key: TaskKey | None = None
    type: NodeType | None = None
    depends_on: DependsOn = []
    when: When = True
    retry: RetryBody = RetryBody()
    timeout: Timeout | None = None
    executor: ExecutorName | None = None
    on_error: OnError = "fail"
    heartbeat_timeout: HeartbeatTimeout | None = None
    resources: ResourcesBody = ResourcesBody()
    concurrency_key: ConcurrencyKey | None = None
    concurrency_limit: Concurrency = 1
    compensate: CompensationBody | None = None
    total_timeout: TotalTimeout | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "My Task",
                    "description": "A simple task",
                    "order": 1,
                    "execution_type": "sync",
                    "parameters": {},
                }
            ]
        }
    )

    def new(self) -> NewTask:
        return NewTask(
            name=self.name,
            key=self.key,
            description=self.description,
            order=self.order,
            execution_type=self.execution_type,
            type=self.type,
            parameters=self.parameters,
            depends_on=tuple(self.depends_on),
            when=self.when,
            retry=self.retry.policy(),
            timeout=self.timeout,
            executor=self.executor,
            on_error=self.on_error,
            heartbeat_timeout=self.heartbeat_timeout,
            resources=self.resources.needs(),
            concurrency_key=self.concurrency_key,
            concurrency_limit=self.concurrency_limit,
            compensate=None if self.compensate is None else self.compensate.compensation(),
            total_timeout=self.total_timeout,
        )


class TaskChanges(Strict):
    """The fields to change; the others stay. `retry` and `compensate` are replaced as a whole."""

    name: Name = given()
    description: Description | None = given()
    order: Order = given()
    execution_type: ExecutionType = given()
    parameters: Parameters = given()
    key: TaskKey = given()
    type: NodeType | None = given()
    depends_on: DependsOn = given()
    when: When = given()
    retry: RetryBody = given()
    timeout: Timeout | None = given()
    executor: ExecutorName | None = given()
    on_error: OnError = given()
    heartbeat_timeout: HeartbeatTimeout | None = given()
    resources: ResourcesBody = given()
    concurrency_key: ConcurrencyKey | None = given()
    concurrency_limit: Concurrency = given()
    compensate: CompensationBody | None = given()
    total_timeout: TotalTimeout | None = given()

    model_config = ConfigDict(json_schema_extra={"examples": [{"order": 2, "retry": {"max_attempts": 3}}]})

    def changes(self) -> dict[str, Any]:
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        if "retry" in given:
            given["retry"] = self.retry.policy()
        if "resources" in given:
            given["resources"] = self.resources.needs()
        if given.get("compensate") is not None:
            given["compensate"] = given["compensate"].compensation()
        if "depends_on" in given:
            given["depends_on"] = tuple(self.depends_on)
        return given


class DryRunBody(Strict):
    """What is to be walked through, and with what."""

    definition: Annotated[
        dict[str, Any] | str | None,
        Field(description="A definition in any dialect: an object, or a text in YAML or JSON."),
    ] = None
    workflow: Annotated[
        int | Annotated[str, Field(max_length=limits.NAME)] | None,
        Field(description="In place of it, a stored workflow: its id or key."),
    ] = None
    input: Annotated[Any, Field(description="What templates see as {{input...}}.")] = None
    mocks: Annotated[
        dict[str, Any],
        Field(
            description="What tasks come to, by key: `output` and `label`, or `error`; or a list, one per attempt.",
            examples=[{"fetch": {"output": {"status": 200}}}],
        ),
    ] = {}
    now: Annotated[
        str | None,
        Field(description="When it begins; else now.", json_schema_extra={"format": "date-time"}),
    ] = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "definition": {"start_at": "wait", "steps": {"wait": {"type": "delay", "duration_seconds": 60}}},
                    "input": {"order": 7},
                }
            ]
        }
    )


class RollbackBody(Strict):
    """Which version a workflow goes back to."""

    version: Annotated[int, Field(ge=1, le=2**53 - 1, description="Its number.", examples=[1])]


class TrialBody(Strict):
    """A config to try, and what its templates refer to."""

    config: Annotated[dict[str, Any], Field(description="As in a task; it may have templates.")] = {}
    input: Annotated[Any, Field(description="What templates see as {{input...}}.")] = None
    tasks: Annotated[
        dict[str, Any],
        Field(description="Outputs by task key: {{tasks.<key>.output...}}.", examples=[{"fetch": {"n": 1}}]),
    ] = {}
    timeout: Annotated[float, Field(gt=0, le=limits.WAIT, description="Seconds that it may take.")] = 10.0

    model_config = ConfigDict(json_schema_extra={"examples": [{"config": {"a": "{{input.x}}"}, "input": {"x": 1}}]})


class SecretBody(Strict):
    """A value to keep. It is never shown again."""

    value: Annotated[str, Field(min_length=4, max_length=65536, json_schema_extra={"format": "password"})]
    allowed_hosts: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=255)]],
        Field(
            max_length=100,
            description="The only hosts that it may be sent to; none: any.",
            examples=[["api.example.com"]],
        ),
    ] = []

    model_config = ConfigDict(json_schema_extra={"examples": [{"value": "s3cr3t"}]})


HandlerType = Annotated[
    str,
    Field(min_length=1, max_length=limits.NAME, description="The node type that does it.", examples=["http_request"]),
]
ActionConfig = Annotated[
    dict[str, Any],
    Field(
        description="Its config, or a part; a task that names the action adds the rest, and its own goes first.",
        examples=[{"url": "https://api.example.com/issues"}],
    ),
]


class ActionBody(Strict):
    """An action to be created."""

    name: Annotated[
        str,
        Field(
            max_length=limits.NAME,
            pattern=_ACTION,
            description="What tasks call it.",
            examples=["fetch-github-issues"],
        ),
    ]
    handler_type: HandlerType
    config: ActionConfig = {}
    description: Description | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "fetch-github-issues",
                    "handler_type": "http_request",
                    "config": {"url": "https://api.example.com/issues"},
                }
            ]
        }
    )

    def new(self) -> NewAction:
        return NewAction(self.name, self.handler_type, self.config, self.description)


class ActionChanges(Strict):
    """The fields to change; the others stay. `config` is replaced as a whole."""

    handler_type: HandlerType = given()
    config: ActionConfig = given()
    description: Description | None = given()

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"config": {"url": "https://api.example.com/v2/issues"}}]}
    )

    def changes(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)
