"""What many starts at once ask of the database."""

import asyncio

from bootstrap.settings import Settings
from bootstrap.wiring import open_service
from engine.ids import BLOCK
from engine.ports import NewWorkflow
from tests.stores import sql


async def test_callers_that_wait_for_ids_share_a_block(sqlite_url: str) -> None:
    async with open_service(Settings(database_url=sqlite_url), engine=False) as service:
        workflow = (await service.create_workflow(NewWorkflow("default", "w"))).id
        started = await asyncio.gather(*(service.execute_workflow(workflow) for _ in range(BLOCK + 1)))
    assert len({one.execution_id for one in started}) == BLOCK + 1
    ((following,),) = sql(sqlite_url, "SELECT next FROM id_block WHERE name = 'execution'")
    assert following == 1 + 2 * BLOCK
