"""Two people and the time-out decide at once: one of the three wins, and the history says which."""

import asyncio
import random
from collections.abc import Mapping

from engine.events import TaskCompleted, TaskFailed, decode
from proto.workflow.v1 import workflow_pb2 as pb
from tests.chaos.client import Answered, Client
from tests.chaos.history import History
from tests.chaos.report import Outcome

PATIENCE = 0.4
"""Seconds that an approval waits."""
EDGE = 0.05
"""Seconds around its time-out in which the decisions fall."""
ASK = {
    "key": "ask",
    "type": "approval",
    "parameters": {"timeout": PATIENCE, "on_timeout": "reject", "on_reject": "continue"},
}
PEOPLE = {"anna": "approved", "bert": "rejected"}

Said = Mapping[int, set[str]]
"""By execution, whose decision was answered with yes."""


async def decide(client: Client, n: int, dice: random.Random, gate: asyncio.Semaphore) -> Said:
    """`n` approvals, and two decisions on each."""
    workflow = await client.define("ask", [ASK])
    said: dict[int, set[str]] = {}

    async def ask(number: int) -> None:
        async with gate:
            execution = await client.start(workflow, {}, f"ask-{number}")
            await asyncio.sleep(PATIENCE - EDGE + 2 * EDGE * dice.random())
            won = await asyncio.gather(*(_decide(client, execution, by) for by in PEOPLE))
            said[execution] = {by for by, yes in zip(PEOPLE, won, strict=True) if yes}

    await asyncio.gather(*(ask(number) for number in range(n)))
    return said


async def _decide(client: Client, execution: int, by: str) -> bool:
    request = pb.DecideApprovalRequest(execution_id=execution, task="ask", decision=PEOPLE[by], by=by)
    try:
        await client.grpc("DecideApproval", request)
    except Answered as answer:
        if answer.status in ("FAILED_PRECONDITION", "NOT_FOUND"):
            return False
        raise
    return True


def check_decisions(history: History, said: Said, outcome: Outcome) -> None:
    """What a person was told is what the task got; else it was the time-out."""
    for execution, winners in said.items():
        ends = [e for e in map(decode, history.events[execution]) if isinstance(e, TaskCompleted | TaskFailed)]
        got = [(e.output["by"], e.output["timed_out"]) for e in ends if isinstance(e, TaskCompleted)]
        told: list[tuple[str | None, bool]] = [(by, False) for by in winners] or [(None, True)]
        outcome.note(f"decision: {'a person' if winners else 'the time-out'}")
        if got != told or len(ends) != 1:
            outcome.problems.append(f"execution {execution}: {told} were told that they decided, the task got {got}")
