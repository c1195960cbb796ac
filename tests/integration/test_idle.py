"""An engine with nothing to do leaves its database in peace."""

import asyncio
from typing import Any, Literal

import pytest

from bootstrap.settings import Settings
from bootstrap.wiring import open_service
from engine.caretakers import claims, inbox, lag, pools, reception, relay, sharing
from storage.postgresql_pool import Pool
from storage.postgresql_session import Session

QUICKER = 20
"""A minute passes in three seconds."""
MOST = 120
"""Statements a minute."""


@pytest.mark.parametrize("publish", ["off", "on"])
async def test_an_idle_engine_says_less_than_two_statements_a_second(
    migrated_postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, publish: Literal["off", "on"]
) -> None:
    lease = Settings().lease_seconds
    polls = [(module, "POLL") for module in (claims, inbox, pools, reception, relay)]
    for module, name in (*polls, (sharing, "INTERVAL"), (lag, "INTERVAL")):
        monkeypatch.setattr(module, name, getattr(module, name) / QUICKER)
    said: list[str] = []
    run, draft = Session.run, Pool.run

    async def counting(self: Session, *parts: Any) -> Any:
        said.extend(part if isinstance(part, str) else part[0] for part in parts)
        return await run(self, *parts)

    async def drafting(self: Pool, *args: Any) -> Any:
        said.append("draft")
        return await draft(self, *args)

    monkeypatch.setattr(Session, "run", counting)
    monkeypatch.setattr(Pool, "run", drafting)
    settings = Settings(
        database_url=migrated_postgres_url, redis_url=redis_url, publish=publish, lease_seconds=lease / QUICKER
    )
    async with open_service(settings, engine=True):
        await asyncio.sleep(10 / QUICKER)
        said.clear()
        await asyncio.sleep(60 / QUICKER)
        heard = list(said)
    print(len(heard), *sorted({" ".join(text.split())[:70] for text in heard}), sep="\n")
    assert 0 < len(heard) < MOST
