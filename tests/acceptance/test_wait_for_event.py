"""Tasks that wait for an event: woken by the one that fits, also by one that came before; the race between the two."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.app import build
from bootstrap.settings import Settings
from bootstrap.wiring import open_service
from engine import matching
from engine.ports import Store
from engine.received import WokenByEvent
from engine.service import WorkflowService
from tests.acceptance.test_events import ended, flow, send
from tests.rest import Rest


class Opened(Rest):
    """A door whose service can be looked into."""

    def __init__(self, service: WorkflowService) -> None:
        super().__init__(build(service))
        self.service = service
        self.store: Store = service._store


@pytest.fixture(params=["sqlite", "postgresql"])
async def rest(request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    url = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "migrated_postgres_url")
    async with open_service(Settings(database_url=url, lease_seconds=0.5), engine=True) as service:
        yield Opened(service)


def wait(**config: Any) -> Any:
    return {"id": "wait", "type": "wait_for_event", "data": {"event": "paid", **config}}


ORDER: Any = {"==": [{"var": "order"}, "{{input.order}}"]}


async def start(rest: Rest, workflow: int, value: Any = None) -> int:
    made = await rest.post(f"/workflows/{workflow}/execute", {"input": value or {}})
    number: int = made.json()["id"]
    return number


async def waits(rest: Rest, execution: int) -> Any:
    """The task, once its execution waits."""
    for _ in range(500):
        view = (await rest.get(f"/executions/{execution}")).json()
        if view["status"] == "waiting":
            return (await rest.get(f"/executions/{execution}/steps")).json()[0]
        await asyncio.sleep(0.02)
    raise AssertionError(f"execution {execution} does not wait")


async def test_the_event_that_fits_ends_the_wait(rest: Opened) -> None:
    after = {"id": "after", "type": "set", "data": {"paid": "{{wait.output.amount}}"}}
    number = await flow(rest, wait(filter=ORDER), after, edges=[{"source": "wait", "target": "after"}])
    mine, other = [await start(rest, number, {"order": order}) for order in (7, 8)]
    assert (await waits(rest, mine))["reason"] == "waits for an event paid"
    await waits(rest, other)
    assert (await send(rest, {"order": 9}, "?type=paid"))["woken"] == []
    assert (await send(rest, {"order": 7}, "?type=other"))["woken"] == []
    made = await send(rest, {"order": 7, "amount": 3}, "?type=paid", idempotency_key="k")
    assert made["woken"] == [{"execution_id": mine, "task": "wait"}]
    view = await ended(rest, mine)
    assert (view["status"], view["output"]) == ("completed", {"after": {"paid": 3}})
    again = await send(rest, {"order": 7, "amount": 3}, "?type=paid", idempotency_key="k")
    assert (again["replayed"], again["woken"]) == (True, made["woken"])
    assert (await waits(rest, other))["status"] == "waiting"


async def five_wait(rest: Opened) -> list[int]:
    """Executions that wait for the same."""
    number = await flow(rest, wait())
    started = [await start(rest, number) for _ in range(5)]
    for execution in started:
        await waits(rest, execution)
    return started


async def test_one_event_ends_every_wait_that_it_fits(rest: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "PAGE", 2)
    started = await five_wait(rest)
    woken = (await send(rest, {}, "?type=paid"))["woken"]
    assert sorted(one["execution_id"] for one in woken) == started
    assert {(await ended(rest, execution))["status"] for execution in started} == {"completed"}


async def test_an_answer_names_the_first_tasks_and_counts_all(rest: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "NAMED", 2)
    started = await five_wait(rest)
    made = await send(rest, {}, "?type=paid", idempotency_key="k")
    assert (len(made["woken"]), made["woken_count"]) == (2, 5)
    again = await send(rest, {}, "?type=paid", idempotency_key="k")
    kept = (await rest.get(f"/events/{made['event_id']}")).json()
    assert [(one["woken"], one["woken_count"]) for one in (again, kept)] == [(made["woken"], 5)] * 2
    assert {(await ended(rest, execution))["status"] for execution in started} == {"completed"}


async def test_an_event_that_came_before_counts_within_the_look_back(rest: Opened) -> None:
    sent = await send(rest, {"order": 7}, "?type=paid")
    await send(rest, {"order": 8}, "?type=paid")
    for filter_, lookback, status in ((ORDER, 60, "completed"), (ORDER, None, "waiting"), (True, 0.000001, "waiting")):
        number = await flow(rest, wait(filter=filter_, **({"lookback": lookback} if lookback else {})))
        execution = await start(rest, number, {"order": 7})
        if status == "waiting":
            await waits(rest, execution)
        else:
            view = await ended(rest, execution)
            assert (view["status"], view["output"]) == ("completed", {"wait": {"order": 7}})
            by = await rest.store.woken_by(f"event:{sent['event_id']}", 10)
            assert by == ([WokenByEvent(execution, "wait")], 1)
    assert await until_looked_back(rest) == []


async def test_a_wait_that_cannot_look_back_harms_no_other(rest: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries again, and finds what it missed once it can."""
    look, bad = rest.store.events_before, set[int]()

    async def broken_for_some(wait: int, *args: Any) -> Any:
        if not bad or wait in bad:
            bad.add(wait)
            raise ValueError("no page of events")
        return await look(wait, *args)

    monkeypatch.setattr(rest.store, "events_before", broken_for_some)
    await send(rest, {"n": 1}, "?type=paid")
    number = await flow(rest, wait(lookback=60))
    first = await start(rest, number)
    for _ in range(500):
        if bad:
            break
        await asyncio.sleep(0.02)
    second = await start(rest, number)
    assert (await ended(rest, second))["output"] == {"wait": {"n": 1}}
    assert (await rest.get(f"/executions/{first}")).json()["status"] == "waiting"
    monkeypatch.setattr(rest.store, "events_before", look)
    assert (await ended(rest, first))["output"] == {"wait": {"n": 1}}


async def until_looked_back(rest: Opened) -> list[Any]:
    for _ in range(500):
        left = await rest.store.waits_looking_back(0, 10)
        if not left:
            return left
        await asyncio.sleep(0.02)
    raise AssertionError("nobody looked back")


# --- the race ---


async def test_an_event_in_the_middle_of_its_handling_meets_a_wait_that_opens(
    rest: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is stored, then the wait opens, then the event looks for waits: it must see this one."""
    stored, opened = asyncio.Event(), asyncio.Event()
    look = rest.store.triggers_for

    async def slowly(*args: Any) -> Any:
        stored.set()
        await opened.wait()
        return await look(*args)

    monkeypatch.setattr(rest.store, "triggers_for", slowly)
    number = await flow(rest, wait())
    sending = asyncio.create_task(send(rest, {}, "?type=paid"))
    await stored.wait()
    execution = await start(rest, number)
    await waits(rest, execution)
    opened.set()
    assert (await sending)["woken"] == [{"execution_id": execution, "task": "wait"}]
    assert (await ended(rest, execution))["status"] == "completed"


async def test_a_wait_that_opens_after_an_event_has_looked_finds_it(
    rest: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event has looked and is not yet settled, then the wait opens: it must look back."""
    looked, opened = asyncio.Event(), asyncio.Event()
    settle = rest.store.settle_received

    async def slowly(*args: Any) -> Any:
        looked.set()
        await opened.wait()
        return await settle(*args)

    monkeypatch.setattr(rest.store, "settle_received", slowly)
    number = await flow(rest, wait(lookback=60))
    sending = asyncio.create_task(send(rest, {"n": 1}, "?type=paid"))
    await looked.wait()
    execution = await start(rest, number)
    assert (await ended(rest, execution))["output"] == {"wait": {"n": 1}}
    opened.set()
    await sending


async def test_events_and_waits_that_come_together_miss_none(rest: Opened) -> None:
    number = await flow(rest, wait(filter=ORDER, lookback=60))

    async def pair(order: int) -> int:
        first, second = start(rest, number, {"order": order}), send(rest, {"order": order}, "?type=paid")
        both = (first, second) if order % 2 else (second, first)
        answers = await asyncio.gather(*both)
        execution: int = answers[0] if order % 2 else answers[1]
        return execution

    started = await asyncio.gather(*(pair(order) for order in range(40)))
    for order, execution in enumerate(started):
        view = await ended(rest, execution)
        assert (view["status"], view["output"]) == ("completed", {"wait": {"order": order}})


# --- time-outs, and what is no rule ---

LATE: Any = [{"id": "late", "type": "set", "data": {}}, {"id": "soon", "type": "set", "data": {}}]
WAYS: Any = [
    {"source": "wait", "target": "late", "label": "timeout"},
    {"source": "wait", "target": "soon", "label": "received"},
]


async def test_a_wait_whose_time_is_over(rest: Opened) -> None:
    cases: list[tuple[dict[str, Any], Any, str, list[str]]] = [
        ({}, [], "failed", []),
        ({"on_timeout": "continue"}, [], "completed", ["wait"]),
        ({}, WAYS, "completed", ["late"]),
        ({"on_timeout": "continue"}, WAYS, "completed", ["late"]),
    ]
    for config, edges, status, done in cases:
        number = await flow(rest, wait(timeout=0.1, **config), *(LATE if edges else ()), edges=edges)
        view = await ended(rest, await start(rest, number))
        assert (view["status"], sorted(view["output"] or ())) == (status, done), config
        if status == "failed":
            assert view["error"]["type"] == "timeout"
            assert "no event paid" in view["error"]["message"]
    number = await flow(rest, wait(timeout=60), *LATE, edges=WAYS)
    execution = await start(rest, number)
    await waits(rest, execution)
    await send(rest, {}, "?type=paid")
    assert list((await ended(rest, execution))["output"]) == ["soon"]


@pytest.mark.parametrize("hostile", [{"var": "order"}, {"or": [True]}, "{{payload.order}}", [{"var": "order"}], {}])
async def test_nothing_that_is_rendered_becomes_a_part_of_the_rule(rest: Opened, hostile: Any) -> None:
    number = await flow(rest, wait(filter={"===": [{"var": "order"}, "{{input.order}}"]}))
    execution = await start(rest, number, {"order": hostile})
    await waits(rest, execution)
    assert (await send(rest, {"order": 9}, "?type=paid"))["woken"] == []
    assert len((await send(rest, {"order": hostile}, "?type=paid"))["woken"]) == 1
    assert (await ended(rest, execution))["status"] == "completed"


async def test_a_filter_that_cannot_be_evaluated_does_not_hold_and_harms_no_other(rest: Opened) -> None:
    broken = await start(rest, await flow(rest, wait(filter={"/": [1, {"var": "n"}]})))
    good = await start(rest, await flow(rest, wait()))
    for execution in (broken, good):
        await waits(rest, execution)
    assert [one["execution_id"] for one in (await send(rest, {"n": 0}, "?type=paid"))["woken"]] == [good]
    assert [one["execution_id"] for one in (await send(rest, {"n": 1}, "?type=paid"))["woken"]] == [broken]


async def test_a_cancelled_wait_is_woken_by_nothing(rest: Opened) -> None:
    execution = await start(rest, await flow(rest, wait()))
    await waits(rest, execution)
    await rest.post(f"/executions/{execution}/cancel", {})
    assert (await ended(rest, execution))["status"] == "cancelled"
    assert (await send(rest, {}, "?type=paid"))["woken"] == []


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({"event": "*"}, "/nodes/0/data/event"),
        ({"filter": "{{input.x}} == 1"}, "/nodes/0/data/filter"),
        ({"filter": {"nope": []}}, "/nodes/0/data/filter/nope"),
        ({"filter": {"==": [{"var": "tasks.a.output"}, 1]}}, "/nodes/0/data/filter/==/0/var"),
        ({"filter": {"==": [1, "{{a.output}}"]}}, "/nodes/0/data/filter/==/1"),
        ({"filter": {"==": [1, "{{"]}}, "/nodes/0/data/filter/==/1"),
        ({"filter": {"==": [1, "{{secrets.k}}"]}}, "/nodes/0/data/filter/==/1"),
        ({"lookback": 0}, "/nodes/0/data/lookback"),
        ({"timeout": -1}, "/nodes/0/data/timeout"),
        ({"on_timeout": "explode"}, "/nodes/0/data/on_timeout"),
        ({"until": 1}, "/nodes/0/data/until"),
    ],
)
async def test_a_wait_with_a_fault_is_refused_with_its_place(
    rest: Opened, config: dict[str, Any], pointer: str
) -> None:
    answer = await rest.post("/workflows", {"nodes": [wait(**config)]})
    assert (answer.status, answer.pointers) == (422, [pointer]), answer.body
