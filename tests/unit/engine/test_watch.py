"""A watch ends with the last event, wherever the end of the execution falls between its reads."""

from types import SimpleNamespace
from typing import Any

from engine.events import StoredEvent
from engine.service import WorkflowService
from engine.states import ExecutionStatus
from tests.unit.engine.harness import looking_service

STARTED, ENDED = (
    StoredEvent(1, seq, kind, 1, 0.0, 1, b"{}")
    for seq, kind in enumerate(("ExecutionStarted", "ExecutionCompleted"), 1)
)


def service(*reads: list[StoredEvent]) -> WorkflowService:
    """Its store answers `reads` one after another; its views know the end already."""
    pages = iter(reads)

    async def read_events(after: dict[int, int], limit: int) -> dict[int, list[StoredEvent]]:
        return {1: next(pages)}

    async def get_executions(ids: list[int]) -> dict[int, Any]:
        return {1: None}

    async def fold(execution_id: int) -> Any:
        return SimpleNamespace(state=SimpleNamespace(status=ExecutionStatus.COMPLETED, seq=2))

    store: Any = SimpleNamespace(read_events=read_events, get_executions=get_executions)
    views: Any = SimpleNamespace(fold=fold)
    return looking_service(store, views)


async def test_an_end_between_two_reads_is_not_lost() -> None:
    watched = [event async for event in service([STARTED], [], [ENDED]).watch(1)]
    assert watched == [STARTED, ENDED]


async def test_a_watch_from_the_end_on_ends() -> None:
    assert [event async for event in service([]).watch(1, after=2)] == []
