"""What the engine asks of executors (WHERE a task runs) and of nodes (WHAT a task does).

Each is one file in its room that satisfies one small port.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

import msgspec

from engine.model import Outcome, Result, TaskCall

Shape = type[msgspec.Struct]
"""A struct class: the fields of a config with their types and bounds. Its docstring is shown to people."""

Verbatim = Annotated[str, msgspec.Meta(extra={"verbatim": True}, description="Taken as it is written: no templates.")]
"""Text that is a program (code, SQL): a template in it would let data become program, so it is refused at save."""

SECRETS = msgspec.Meta(extra={"secrets": True})
"""Marks a field that may have `{{secrets.name}}`: one whose value goes nowhere but out."""

Condition = Annotated[
    bool,
    msgspec.Meta(
        extra={"condition": True},
        description="true, false, JSONLogic, or an expression such as {{input.total}} > 10.",
        extra_json_schema={"type": ["boolean", "object", "string"]},
    ),
]
"""Evaluated by the engine, which has what it refers to; a node gets true or false."""


Rule = Annotated[
    Any,
    msgspec.Meta(
        extra={"rule": True},
        description="JSONLogic about what is to come; {{…}} in it is what is known now.",
        extra_json_schema={"type": ["boolean", "object"]},
    ),
]
"""Handed on by a node, not evaluated: it gets `{"rule": …, "values": […]}`, see `engine.rendering.RuleTemplate`."""


class CodeLimits(NamedTuple):
    """Seconds, and bytes of memory."""

    seconds: float
    memory: int


class Ran(NamedTuple):
    """What code came to, and what it printed."""

    value: Any
    printed: str


class CodeRunner(Protocol):
    """Runs other people's Python. One file in `sandbox/` with a module-level `open_runner() -> CodeRunner`."""

    async def run(self, code: str, inputs: Mapping[str, Any], limits: CodeLimits) -> Ran:
        """Runs `code`, then its `process(**inputs)`; a cancelled call leaves nothing running.

        Raises `TaskError`: `code_error` for what the code raises, `timeout`, `code_memory`, `code_crashed`,
        `bad_output`, and `invalid_code` or `code_not_supported`, which say where the language of the sandbox ends.
        """
        ...

    async def close(self) -> None: ...


class NodeContext(msgspec.Struct, frozen=True):
    """What a node may use of the world; built by bootstrap in every process, workers included."""

    http: Any
    """The guarded client (`egress.client.HttpClient`)."""
    log: Any
    """A structlog logger."""
    connections: Any = None
    """The servers that workflows may name (`engine.connections.Connections`)."""
    code: Any = None
    """The sandbox (`CodeRunner`)."""
    sql: Any = None
    """Databases of others (`egress.sql.Databases`), for blocking nodes."""
    vault: Any = None
    """Opens sealed secrets (`engine.secrets.Vault`); nodes get their values in their config."""
    heartbeat: Callable[[], None] = lambda: None
    """Says that this attempt is alive, for its `heartbeat_timeout`; cheap, from any thread."""

    def beating(self, beat: Callable[[], None]) -> "NodeContext":
        """The same world for one attempt."""
        return msgspec.structs.replace(self, heartbeat=beat)


class NodeHandler(Protocol):
    """WHAT a task does. One file in `nodes/` with a module-level `handler`, whose docstring is shown to people.

    `shape` is what the rendered config is converted to; its constraints give the faults at save. A handler may have
    `aliases` (other names of its type), `spellings` (other names of its fields, to the fields; camelCase is known
    without them), `major` (1 if it has none: what `type@major` pins), `connections` (the kinds of named servers that it
    uses, each with the shape of its settings), `same` (a config, not yet rendered, to the one form in which all configs
    with its meaning are stored) and `rehearse` (for dry runs: the outcome of a call and its config that has no effect
    and takes no time; without one a dry run takes its output from a mock, or leaves it open).
    `run` answers an outcome at once (light work only), or an awaitable of one; with `blocking = True` it is
    called in a thread. It raises `TaskError` for a failure; any other exception is a retryable failure.
    """

    shape: ClassVar[Shape]
    type: ClassVar[str]
    blocking: ClassVar[bool]

    def run(self, call: TaskCall, config: Any, context: NodeContext) -> Outcome | Awaitable[Outcome]: ...


Run = Callable[[TaskCall, Callable[[], None]], Outcome | Awaitable[Outcome]]
"""Runs a call with the context of this process; the second argument is what the handler's `heartbeat` calls."""


class Host(NamedTuple):
    """What a process needs to run calls, so that an executor imports no node."""

    run: Run
    is_blocking: Callable[[str], bool]
    """Whether a node type must run in a thread."""
    run_alone: Callable[[TaskCall], Awaitable[Result]] | None = None
    """Runs a suspect in a process of its own; None: this is one."""


OpenHost = Callable[[], AbstractAsyncContextManager[Host]]
"""Opens a host in any process, from its environment: a function of a module, so that it travels by name."""


class ExecutorOptions(NamedTuple):
    """What an executor may need to know of this process; each takes what concerns it."""

    host: Host
    """To run calls in this process."""
    open_host: OpenHost
    """To run calls in another one."""
    threads: int
    """For blocking handlers."""
    redis_url: str | None = None
    ray_address: str | None = None
    """None: a Ray of our own, on this machine."""
    installation: str = "millrace"
    """Tells the calls of one installation from those of another on the same server."""


Report = Callable[[TaskCall, Result, float], None]
"""Takes the result of a call and its elapsed seconds; called in the loop's thread, once per call."""


class Executor(Protocol):
    """WHERE a task runs: a life cycle and one method. Attempts, retries and slots are the engine's.

    One file in `executors/` with a module-level `open_executor(options: ExecutorOptions) -> Executor`. Each call is
    reported once: with an outcome, `Failed` (the handler raised, or timed out), or `Lost` (its process died).
    """

    name: ClassVar[str]
    outlives: ClassVar[bool]
    """Whether its calls go on when their engine ends, so that the next owner may `attach` them."""

    async def start(self, report: Report) -> None:
        """Raises `ConfigurationError` with the cure when a library is missing or a server cannot be reached."""
        ...

    async def stop(self) -> None:
        """Cancels what runs in this process; nothing is reported afterwards."""
        ...

    def attach(self, calls: Sequence[TaskCall]) -> Sequence[TaskCall]:
        """After another engine's death: those of `calls` that may still run here; they are reported as if submitted.

        One that turns out to be unknown is reported as `Lost`, so that an unreachable server delays only its own
        calls. An executor whose calls die with their engine answers none.
        """
        ...

    def submit(self, calls: Sequence[TaskCall]) -> None:
        """Begins all; never blocks. A result may be reported before this returns."""
        ...

    def cancel(self, calls: Sequence[TaskCall]) -> None:
        """Stops what can be stopped; nothing is reported for these calls afterwards."""
        ...

    def detach(self, calls: Sequence[TaskCall]) -> None:
        """This engine has to do with them no more, the next owner may `attach`: stops only what nobody could report.

        Nothing is reported for these calls afterwards.
        """
        ...
