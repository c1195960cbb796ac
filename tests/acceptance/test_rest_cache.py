"""What is cached over REST, and what never is."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.rest import Answer, Rest, open_rest


@pytest.fixture(params=["in process", "redis"])
async def rest(request: pytest.FixtureRequest, sqlite_url: str) -> AsyncIterator[Rest]:
    redis_url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    async with open_rest(sqlite_url, redis_url=redis_url) as rest:
        await rest.post("/workflows/", {"name": "a", "key": "a"})
        await rest.post("/workflows/1/tasks/", {"name": "t"})
        yield rest


async def twice(rest: Rest, path: str) -> Answer:
    """The second answer; it must say what the first one said."""
    first, second = await rest.get(path), await rest.get(path)
    assert first.headers.get("x-cache", "miss") == "miss"
    assert (first.status, first.body, first.headers.get("etag")) == (
        second.status,
        second.body,
        second.headers.get("etag"),
    )
    return second


DEFINITIONS = [
    "/workflows/",
    "/workflows?skip=0&limit=5",
    "/workflows/1",
    "/workflows/a",
    "/workflows/1/tasks/",
    "/workflows/a/tasks/1",
]


@pytest.mark.parametrize("path", DEFINITIONS)
async def test_definitions_are_cached_until_they_change(rest: Rest, path: str) -> None:
    assert (await twice(rest, path)).headers["x-cache"] == "hit"
    for change in (
        rest.put("/workflows/1", {"name": "b"}),
        rest.put("/workflows/a", {"description": "d"}),
        rest.post("/workflows/a/tasks/", {"name": "u"}),
        rest.put("/workflows/1/tasks/1", {"name": "v"}),
        rest.delete("/workflows/a/tasks/2"),
    ):
        assert (await change).status < 300
        assert (await rest.get(path)).headers["x-cache"] == "miss"
        assert (await rest.get(path)).headers["x-cache"] == "hit"
    assert (await rest.delete("/workflows/1")).status == 204
    gone = await rest.get(path)
    assert gone.status == 404 or gone.json() == []


async def test_an_ended_execution_is_cached_a_live_one_never(rest: Rest) -> None:
    await rest.post("/workflows/", {"name": "slow"})
    await rest.post("/workflows/2/tasks/", {"name": "t", "type": "delay", "parameters": {"duration_seconds": 3600}})
    await rest.post("/workflows/1/execute?wait=20")
    await rest.post("/workflows/2/execute?wait=0.05")
    for path in ("/executions/1", "/executions/1/steps"):
        assert (await twice(rest, path)).headers["x-cache"] == "hit"
    for path in ("/executions/2", "/executions/2/steps"):
        answer = await twice(rest, path)
        assert answer.headers["x-cache"] == "miss"
        assert answer.headers["cache-control"] == "no-store"
    await rest.post("/executions/2/cancel")
    assert (await rest.get("/executions/2")).json()["status"] == "cancelled"


@pytest.mark.parametrize("path", ["/executions", "/executions/1/events", "/health", "/ping", "/workflows/9", "/nope"])
async def test_never_cached(rest: Rest, path: str) -> None:
    await rest.post("/workflows/1/execute?wait=20")
    assert (await twice(rest, path)).headers.get("x-cache", "miss") == "miss"


async def test_etag_and_304(rest: Rest) -> None:
    await rest.post("/workflows/1/execute?wait=20")
    for path in ("/workflows/1", "/executions/1"):
        etag = (await rest.get(path)).headers["etag"]
        for condition in (etag, f'"other", W/{etag}', "*"):
            answer = await rest.get(path, if_none_match=condition)
            assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
            assert answer.headers["cache-control"] == "private, no-cache"
            assert "content-length" not in answer.headers
        assert (await rest.get(path, if_none_match='"other"')).status == 200
    stale = (await rest.get("/workflows/1")).headers["etag"]
    await rest.put("/workflows/1", {"name": "new"})
    fresh = await rest.get("/workflows/1", if_none_match=stale)
    assert (fresh.status, fresh.headers["x-cache"]) == (200, "miss")
    assert (await rest.get("/workflows/1", if_none_match=fresh.headers["etag"])).headers["x-cache"] == "hit"


async def test_a_304_also_for_what_is_not_cached(rest: Rest) -> None:
    await rest.post("/workflows/1/tasks/", {"name": "t", "type": "delay", "parameters": {"duration_seconds": 3600}})
    await rest.post("/workflows/1/execute")
    while (live := await rest.get("/executions/1")).json()["status"] != "waiting":
        await asyncio.sleep(0.01)
    answer = await rest.get("/executions/1", if_none_match=live.headers["etag"])
    assert (answer.status, answer.headers["x-cache"]) == (304, "miss")


async def test_answers_differ_by_accept(rest: Rest) -> None:
    await rest.get("/workflows/1", accept="application/json")
    assert (await rest.get("/workflows/1", accept="text/html")).headers["x-cache"] == "miss"
    zipped = await rest.get("/workflows/1", accept="application/json", accept_encoding="gzip")
    assert zipped.headers["x-cache"] == "miss"
    assert (await rest.get("/workflows/1", accept="application/json")).headers["x-cache"] == "hit"
