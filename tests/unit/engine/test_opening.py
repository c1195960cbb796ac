"""What an attempt with open secrets may do and say."""

import dataclasses
import inspect
from typing import Any, ClassVar

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from bootstrap.vault import AesVault, new_key, open_vault
from engine.errors import TaskError
from engine.expressions.templates import sealed
from engine.model import Completed, Outcome, TaskCall, Usage
from engine.opening import opened
from engine.secrets import MASK
from engine.task_ports import NodeContext

VALUE = "s3cr3t-value-0123456789"
VAULT: AesVault = open_vault(new_key("k"))


class World:
    """Stands for a client and for databases; keeps what was asked."""

    asked: ClassVar[list[Any]] = []

    async def request(self, method: str, url: str, **options: Any) -> Any:
        self.asked.append(options.get("hosts"))

    def run(self, url: str, statement: Any) -> Any:
        self.asked.append(url)


async def attempt(run: Any, *hosts: str, blocking: bool = False) -> Outcome:
    envelope = VAULT.seal("default", "x", VALUE, hosts)
    call = TaskCall(1, "a", "t", {"key": sealed("x")}, secrets={"x": envelope})
    world = World()
    context = NodeContext(world, structlog.get_logger(), sql=world, vault=VAULT)
    outcome = opened(call, context, run, blocking=blocking)
    return await outcome if inspect.isawaitable(outcome) else outcome


class Box(msgspec.Struct):
    word: str


@dataclasses.dataclass
class Bag:
    word: str


@pytest.mark.parametrize(
    "make", [lambda v: v, lambda v: {v: [v]}, Box, Bag, lambda v: {"a": (Box(v),)}, lambda v: {v}, lambda v: v.encode()]
)
async def test_outputs_of_every_kind_are_masked(make: Any) -> None:
    outcome = await attempt(lambda call, context: Completed(make(call.config["key"]), usage=Usage(1)))
    assert isinstance(outcome, Completed)
    assert MASK in str(outcome.output)
    assert VALUE not in str(outcome.output)
    assert outcome.usage == Usage(1)


async def test_what_is_no_json_fails_without_the_value() -> None:
    with pytest.raises(TaskError) as caught:
        await attempt(lambda call, context: Completed({"f": float("nan"), call.config["key"]: 1}))
    assert caught.value.type == "bad_output"
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize("blocking", [True, False])
async def test_errors_are_masked_and_keep_what_they_are(blocking: bool) -> None:
    def run(call: TaskCall, context: NodeContext) -> Outcome:
        raise TaskError(f"no {VALUE[:15]}", type=f"bad {VALUE}", retryable=False, usage=Usage(2))

    with pytest.raises(TaskError) as caught:
        await attempt(run, blocking=blocking)
    error = caught.value
    assert (error.message, error.type, error.retryable) == (f"no {MASK}", f"bad {MASK}", False)
    assert error.usage == Usage(2)
    assert error.__cause__ is None


async def test_logs_are_masked_exceptions_and_bound_words_too() -> None:
    def run(call: TaskCall, context: NodeContext) -> Outcome:
        log = context.log.bind(key=VALUE)
        log.info("said", n=1)
        context.log.warning(call.config["key"], list=[VALUE])
        try:
            raise ValueError(VALUE)
        except ValueError:
            context.log.exception("went wrong")
            context.log.warning("again", exc_info=True)
        return Completed()

    with capture_logs() as lines:
        await attempt(run)
    assert len(lines) == 4
    assert all(MASK in str(line) for line in lines)
    assert VALUE not in str(lines)


async def test_a_bound_secret_goes_only_to_its_hosts() -> None:
    def ask(url: str) -> Any:
        def run(call: TaskCall, context: NodeContext) -> Outcome:
            context.sql.run(url, None)
            return Completed()

        return run

    World.asked.clear()
    await attempt(ask("postgresql://u:p@DB.example.com/crm"), "db.example.com", blocking=True)
    for url in ("postgresql://u:p@other.example.com/crm", "sqlite:///crm.db", "postgresql:///crm"):
        with pytest.raises(TaskError, match="may not be sent to") as caught:
            await attempt(ask(url), "db.example.com", blocking=True)
        assert (caught.value.type, caught.value.retryable) == ("egress_refused", False)
    assert len(World.asked) == 1
    await attempt(ask("sqlite:///crm.db"), blocking=True)
    assert len(World.asked) == 2
