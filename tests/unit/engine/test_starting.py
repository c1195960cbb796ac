"""Starts: what many at once ask of the database, and one whose answer was lost."""

import asyncio
from pathlib import Path

import pytest

from bootstrap.settings import Settings
from bootstrap.wiring import open_service
from engine import failpoints
from engine.ids import BLOCK
from engine.model import Task
from engine.ports import NewWorkflow
from engine.states import ExecutionStatus as E
from tests.stores import sql
from tests.unit.engine.harness import Engine


async def test_callers_that_wait_for_ids_share_a_block(sqlite_url: str) -> None:
    async with open_service(Settings(database_url=sqlite_url), engine=False) as service:
        workflow = (await service.create_workflow(NewWorkflow("default", "w"))).id
        started = await asyncio.gather(*(service.execute_workflow(workflow) for _ in range(BLOCK + 1)))
    assert len({one.execution_id for one in started}) == BLOCK + 1
    ((following,),) = sql(sqlite_url, "SELECT next FROM id_block WHERE name = 'execution'")
    assert following == 1 + 2 * BLOCK


@pytest.mark.parametrize("count", [1, 3], ids=["alone", "beside others"])
@pytest.mark.parametrize("keyed", [False, True], ids=["without a key", "with a key"])
async def test_a_start_that_is_stored_and_refused_all_the_same_goes_on(
    tmp_path: Path, count: int, keyed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong between the commit and its answer."""
    async with Engine(tmp_path) as engine:
        version = await engine.define(Task("a"))
        monkeypatch.setitem(failpoints._armed, "commit.after", ("raise", 1))
        starts = [engine.start(version, key=f"k{n}" if keyed else None) for n in range(count)]
        await asyncio.gather(*starts, return_exceptions=True)
        for (number,) in engine.sql("SELECT id FROM execution"):
            assert (await engine.ended(number)).status is E.COMPLETED
        assert len(engine.sql("SELECT id FROM execution")) == count
        assert await engine.is_idle()
