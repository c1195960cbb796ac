"""Events from outside, over REST: what they start, once whatever happens, and how triggers are written."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.app import build
from bootstrap.settings import Settings
from bootstrap.wiring import open_service
from engine import limits, reception
from engine.errors import StoreUnavailable
from tests.rest import Answer, Rest, open_rest

# 001, "Test it out": the body of POST /events
LEAD: Any = {"lead": {"source": "LinkedIn", "score": 90, "title": "CEO"}}
HOT: Any = {"and": [{"==": [{"var": "lead.source"}, "LinkedIn"]}, {">": [{"var": "lead.score"}, 80]}]}
# 001, "Workflow structure": its nodes, the call to another host left out; the branch leads to the two that it names
GRAPH: Any = {
    "nodes": [
        {"id": "start", "type": "start", "data": {}},
        {"id": "notify", "type": "send_notification", "data": {"toRole": "AE", "message": "New hot lead"}},
        {"id": "wait", "type": "delay", "data": {"ms": 10}},
        {
            "id": "branch",
            "type": "branch",
            "data": {
                "cases": [
                    {"label": "CEO", "condition": {"==": [{"var": "lead.title"}, "CEO"]}, "next": "gift"},
                    {"else": True, "next": "drip"},
                ]
            },
        },
        {"id": "gift", "type": "set", "data": {"to": "{{payload.lead.title}}"}},
        {"id": "drip", "type": "set", "data": {}},
    ],
    "edges": [
        {"id": "e1", "source": "start", "target": "notify"},
        {"id": "e2", "source": "notify", "target": "wait"},
        {"id": "e4", "source": "wait", "target": "branch"},
    ],
}


@pytest.fixture(params=["sqlite", "postgresql"])
async def rest(request: pytest.FixtureRequest) -> AsyncIterator[Rest]:
    url = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "migrated_postgres_url")
    async with open_rest(url) as rest:
        yield rest


@pytest.fixture
async def here(sqlite_url: str) -> AsyncIterator[Rest]:
    async with open_rest(sqlite_url) as rest:
        yield rest


async def flow(rest: Rest, *nodes: Any, edges: Any = (), **fields: Any) -> int:
    """The id of a workflow of these nodes; one without a name does nothing."""
    document = {"nodes": list(nodes) or [{"id": "start", "type": "start"}], "edges": list(edges), **fields}
    made = await rest.post("/workflows", document)
    assert made.status == 201, made.body
    number: int = made.json()["id"]
    return number


async def trigger(rest: Rest, workflow: int, **fields: Any) -> int:
    made = await rest.post(f"/workflows/{workflow}/triggers/", fields)
    assert made.status == 201, made.body
    number: int = made.json()["id"]
    return number


async def send(rest: Rest, payload: Any, query: str = "", **headers: str) -> Any:
    answer = await rest.post(f"/events{query}", payload, **headers)
    assert answer.status == 202, answer.body
    return answer.json()


async def ended(rest: Rest, execution: int) -> Any:
    for _ in range(600):
        view = (await rest.get(f"/executions/{execution}")).json()
        if view["status"] in ("completed", "failed", "cancelled"):
            return view
        await asyncio.sleep(0.02)
    raise AssertionError(f"execution {execution} did not end")


async def executions(rest: Rest, workflow: int) -> list[Any]:
    page: list[Any] = (await rest.get(f"/executions?workflow_id={workflow}&limit=1000")).json()["items"]
    return page


# --- 001 ---


async def test_the_event_of_the_document_starts_the_workflow_whose_condition_holds(rest: Rest) -> None:
    hot = await flow(rest, *GRAPH["nodes"], edges=GRAPH["edges"])
    wanted = await trigger(rest, hot, condition=HOT)
    cold = await flow(rest)
    await trigger(rest, cold, condition={"<": [{"var": "lead.score"}, 80]})
    made = await send(rest, LEAD)
    (started,) = made["started"]
    assert (started["workflow_id"], started["trigger_id"]) == (hot, wanted)
    assert (made["handled"], made["replayed"], made["woken"], made["problems"]) == (True, False, [], [])
    view = await ended(rest, started["execution_id"])
    assert (view["status"], view["input"], view["output"]["gift"]) == ("completed", LEAD, {"to": "CEO"})
    assert view["labels"] == {"event": str(made["event_id"]), "trigger": str(wanted)}
    steps = {step["key"]: step["status"] for step in (await rest.get(f"/executions/{view['id']}/steps")).json()}
    assert (steps["gift"], steps["drip"]) == ("completed", "skipped")
    assert await executions(rest, cold) == []


async def test_an_event_for_which_nothing_holds_starts_nothing(rest: Rest) -> None:
    hot = await flow(rest)
    await trigger(rest, hot, condition=HOT)
    made = await send(rest, {"lead": {"source": "LinkedIn", "score": 80}})
    assert made["started"] == []
    kept = (await rest.get(f"/events/{made['event_id']}")).json()
    assert kept["payload"] == {"lead": {"source": "LinkedIn", "score": 80}}
    assert (kept["type"], kept["handled"], kept["started"]) == ("event", True, [])


# --- types, order, idempotency ---


async def test_a_trigger_asks_for_a_type_or_for_any(here: Rest) -> None:
    flows = [await flow(here) for _ in range(4)]
    specs: list[dict[str, Any]] = [{"event": "a.b"}, {"event": "c"}, {}, {"enabled": False}]
    for number, fields in zip(flows, specs, strict=True):
        await trigger(here, number, **fields)
    made = await send(here, {}, "?type=a.b")
    assert [one["workflow_id"] for one in made["started"]] == [flows[0], flows[2]]
    assert made["type"] == "a.b"


async def test_the_same_event_twenty_times_at_once_starts_each_workflow_once(rest: Rest) -> None:
    flows = [await flow(rest) for _ in range(3)]
    for number in flows:
        await trigger(rest, number)
    answers = await asyncio.gather(*(send(rest, LEAD, idempotency_key="one") for _ in range(20)))
    assert sum(not answer["replayed"] for answer in answers) == 1
    assert all(answer["handled"] for answer in answers)
    assert len({repr((answer["event_id"], answer["started"])) for answer in answers}) == 1
    assert [len(await executions(rest, number)) for number in flows] == [1, 1, 1]
    again = await rest.post("/events", LEAD, idempotency_key="one")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == f"/events/{answers[0]['event_id']}"


async def test_a_key_stands_for_one_content(here: Rest) -> None:
    await send(here, LEAD, "?type=a", idempotency_key="one")
    for path, body in (("/events?type=a", {}), ("/events?type=b", LEAD)):
        assert (await here.post(path, body, idempotency_key="one")).code == "idempotency_mismatch"


async def test_two_triggers_of_a_workflow_start_it_twice(here: Rest) -> None:
    number = await flow(here)
    await trigger(here, number)
    await trigger(here, number)
    assert len((await send(here, {}))["started"]) == 2


# --- what goes wrong ---


async def test_a_trigger_that_fails_harms_no_other_and_is_told(rest: Rest) -> None:
    good, bad = await flow(rest), await flow(rest)
    wrong = await trigger(rest, bad, condition="{{input.lead.age}} > 3")
    await trigger(rest, good)
    made = await send(rest, LEAD)
    assert [one["workflow_id"] for one in made["started"]] == [good]
    (problem,) = made["problems"]
    assert (problem["trigger_id"], problem["workflow_id"], problem["code"]) == (wrong, bad, "template")
    assert "lead.age" in problem["message"]
    assert f"trigger {wrong} of workflow {bad}" in (await rest.get("/health")).json()["checks"]["triggers"]
    await send(rest, {"lead": {"age": 4}})
    assert (await rest.get("/health")).json()["checks"]["triggers"] == "ok"


@pytest.mark.parametrize(
    ("path", "body", "status", "pointer"),
    [
        ("/events?type=a%20b", {}, 422, "/type"),
        ("/events?type=", {}, 422, "/type"),
        ("/events?type=*", {}, 422, "/type"),
        ("/events?kind=a", {}, 422, "/kind"),
        ("/events", b'{"a": NaN}', 422, "/a"),
        ("/events", b"", 422, ""),
        ("/events", {"a": "x" * limits.PAYLOAD}, 413, None),
    ],
)
async def test_what_is_no_event_is_refused(here: Rest, path: str, body: Any, status: int, pointer: str | None) -> None:
    answer = await here.post(path, body)
    assert answer.status == status, answer.body
    if pointer is not None:
        assert answer.pointers == [pointer]


async def test_an_event_that_is_not_there(here: Rest) -> None:
    assert (await here.get("/events/17")).code == "event_not_found"
    assert (await here.get("/events/x")).status == 422


# --- triggers ---


async def test_triggers_are_added_read_changed_and_deleted(rest: Rest) -> None:
    number = await flow(rest, key="hot")
    made = await rest.post("/workflows/hot/triggers", {"event": "lead.created", "condition": HOT})
    one = made.json()
    place = f"/workflows/{number}/triggers/{one['id']}"
    assert made.headers["location"] == place
    assert (one["event"], one["condition"], one["enabled"], one["written"]) == ("lead.created", HOT, True, False)
    assert (await rest.get("/workflows/hot/triggers/")).json() == [one]
    assert (await rest.get(f"{place}/")).json() == one
    changed = (await rest.put(place, {"enabled": False})).json()
    assert (changed["enabled"], changed["condition"]) == (False, HOT)
    assert (await send(rest, LEAD, "?type=lead.created"))["started"] == []
    await rest.put(place, {"enabled": True, "condition": True, "event": "*"})
    assert len((await send(rest, {}))["started"]) == 1
    assert (await rest.delete(place)).status == 204
    for answer in (await rest.get(place), await rest.delete(place), await rest.put(place, {"enabled": True})):
        assert answer.code == "trigger_not_found"
    assert (await send(rest, {}))["started"] == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"event": "a b"}, "/event"),
        ({"event": "a*"}, "/event"),
        ({"condition": {"===>": [1, 2]}}, "/condition/===>"),
        ({"condition": {">": [{"var": "tasks.a.output"}, 1]}}, "/condition/>/0/var"),
        ({"condition": "{{a.output}} > 1"}, "/condition"),
        ({"condition": "{{secrets.k}} == 1"}, "/condition"),
        ({"condition": "{{"}, "/condition"),
        ({"condition": 5}, "/condition"),
        ({"when": True}, "/when"),
        ({"enabled": "yes"}, "/enabled"),
    ],
)
async def test_a_trigger_with_a_fault_is_refused_with_its_place(here: Rest, body: Any, pointer: str) -> None:
    number = await flow(here)
    place = f"/workflows/{number}/triggers"
    one = await trigger(here, number)
    for answer in (await here.post(place, body), await here.put(f"{place}/{one}", body)):
        assert answer.status == 422, answer.body
        assert {found[: len(pointer)] for found in answer.pointers} == {pointer}


async def test_triggers_of_nothing(here: Rest) -> None:
    number = await flow(here)
    assert (await here.get("/workflows/99/triggers")).code == "workflow_not_found"
    assert (await here.post("/workflows/99/triggers", {})).code == "workflow_not_found"
    for text in ("99", "x", "1" * 17):
        assert (await here.get(f"/workflows/{number}/triggers/{text}")).code == "trigger_not_found"


async def test_an_archived_workflow_is_started_by_nothing(rest: Rest) -> None:
    number = await flow(rest)
    await trigger(rest, number)
    assert (await rest.delete(f"/workflows/{number}")).status == 204
    made = await send(rest, LEAD)
    assert (made["started"], made["problems"]) == ([], [])


# --- written in a document ---


async def test_a_document_brings_its_triggers(rest: Rest) -> None:
    document = {**GRAPH, "key": "hot", "trigger": {"event": "lead.created", "condition": HOT}}
    made = (await rest.post("/workflows", document)).json()
    (one,) = (await rest.get("/workflows/hot/triggers")).json()
    assert (one["event"], one["condition"], one["written"]) == ("lead.created", HOT, True)
    place = f"/workflows/hot/triggers/{one['id']}"
    for answer in (await rest.put(place, {"enabled": False}), await rest.delete(place)):
        assert answer.code == "written_otherwise"
    added = await trigger(rest, made["id"], event="other")
    assert (await rest.get("/workflows/hot?format=source")).json()["trigger"] == document["trigger"]
    shown = (await rest.get("/workflows/hot?format=tasks")).json()["triggers"]
    assert shown == [{"event": "lead.created", "condition": HOT, "enabled": True}]
    later = {**document, "triggers": [HOT, document["trigger"], "lead.merged"]}
    del later["trigger"]
    assert (await rest.put("/workflows/hot", later)).status == 200
    found = {found["event"]: found for found in (await rest.get("/workflows/hot/triggers")).json()}
    assert {event: each["written"] for event, each in found.items()} == {
        "*": True,
        "lead.created": True,
        "lead.merged": True,
        "other": False,
    }
    assert (found["lead.created"]["id"], found["other"]["id"], found["*"]["condition"]) == (one["id"], added, HOT)
    assert len((await rest.get("/workflows/hot/versions")).json()) == 1
    await rest.put("/workflows/hot", GRAPH)
    assert [left["id"] for left in (await rest.get("/workflows/hot/triggers")).json()] == [added]


@pytest.mark.parametrize(
    ("triggers", "pointers"),
    [
        ([{"event": "a b"}], ["/triggers/0/event"]),
        ([{}, {"condition": {"nope": 1}}], ["/triggers/1/condition/nope"]),
        ([{"evnt": "a"}], ["/triggers/0/evnt"]),
        ([5], ["/triggers/0"]),
        ([{"enabled": "yes"}], ["/triggers/0/enabled"]),
        ([{"==": [{"var": "tasks.a.output"}, 1]}], ["/triggers/0/==/0/var"]),
        (["a"] * (limits.TRIGGERS + 1), ["/triggers"]),
    ],
)
async def test_faults_of_written_triggers_have_their_places(here: Rest, triggers: Any, pointers: list[str]) -> None:
    document = {**GRAPH, "triggers": triggers}
    report = (await here.post("/workflows/validate", document)).json()
    assert [error["pointer"] for error in report["errors"]] == pointers
    assert [one for one in report["warnings"] if one["code"] == "unused_field"] == []
    refused = await here.post("/workflows", document)
    assert (refused.status, refused.pointers) == (422, pointers)


async def test_a_trigger_or_triggers(here: Rest) -> None:
    answer = await here.post("/workflows", {**GRAPH, "trigger": "a", "triggers": []})
    assert answer.pointers == ["/triggers"]


# --- events of tasks ---

PUBLISH: Any = {"id": "tell", "type": "publish_event", "data": {"event": "lead.won", "payload": {"who": "{{input.x}}"}}}


async def test_what_a_task_publishes_starts_workflows(rest: Rest) -> None:
    first = await flow(rest, PUBLISH)
    second = await flow(rest, trigger="lead.won")
    made = await rest.post(f"/workflows/{first}/execute?wait=10", {"input": {"x": [1]}})
    key = f"@execution:{made.json()['id']}/tell/"
    assert made.json()["output"] == {"tell": {"event": "lead.won", "key": key}}
    started = await one_of(rest, second)
    view = await ended(rest, started["execution_id"])
    assert view["input"] == {"who": [1]}
    event = (await rest.get(f"/events/{view['labels']['event']}")).json()
    assert (event["idempotency_key"], event["type"], event["handled"]) == (key, "lead.won", True)


async def test_no_caller_can_take_the_key_of_a_start_by_a_trigger(rest: Rest) -> None:
    number = await flow(rest)
    made = await trigger(rest, number, event="paid")
    first = (await send(rest, {}))["event_id"]
    for event in range(first, first + 9):
        key = f"event:{event}:{made}"
        await rest.post(f"/workflows/{number}/execute", {"input": {"a": 1}}, idempotency_key=key)
        refused = await rest.post(f"/workflows/{number}/execute", {"input": {"a": 1}}, idempotency_key=f"@{key}")
        assert (refused.status, refused.pointers) == (422, ["/idempotency_key"])
    sent = await send(rest, {}, "?type=paid")
    assert (len(sent["started"]), sent["problems"]) == (1, [])


async def test_no_caller_can_take_the_key_of_a_publication(rest: Rest) -> None:
    """It would be dropped as one that is known."""
    first = await flow(rest, PUBLISH)
    second = await flow(rest, trigger="lead.won")
    before = (await rest.post(f"/workflows/{first}/execute?wait=10", {"input": {"x": 0}})).json()["id"]
    for execution in range(before + 1, before + 9):
        key = f"execution:{execution}/tell/"
        await send(rest, {}, idempotency_key=key)
        refused = await rest.post("/events", {}, idempotency_key=f"@{key}")
        assert (refused.status, refused.pointers) == (422, ["/idempotency_key"])
    await rest.post(f"/workflows/{first}/execute?wait=10", {"input": {"x": 1}})
    assert [one["input"]["who"] for one in await many_of(rest, second, 2)] == [1, 0]


async def many_of(rest: Rest, workflow: int, many: int) -> list[Any]:
    """The newest first, as they ended."""
    for _ in range(500):
        if len(found := await executions(rest, workflow)) >= many:
            return [await ended(rest, one["execution_id"]) for one in found]
        await asyncio.sleep(0.02)
    raise AssertionError(f"workflow {workflow} was not started {many} times")


async def one_of(rest: Rest, workflow: int) -> Any:
    for _ in range(500):
        if found := await executions(rest, workflow):
            return found[0]
        await asyncio.sleep(0.02)
    raise AssertionError(f"workflow {workflow} was not started")


async def test_events_that_lead_to_themselves_come_to_an_end(rest: Rest) -> None:
    number = await flow(rest, {"id": "tell", "type": "publish_event", "data": {"event": "again"}}, trigger="again")
    await send(rest, {}, "?type=again")
    found = await executions(rest, number)
    while found[0]["status"] != "failed":
        await asyncio.sleep(0.02)
        found = await executions(rest, number)
    assert len(found) == limits.EVENT_CHAIN + 1
    view = await ended(rest, found[0]["execution_id"])
    assert (view["error"]["type"], view["error"]["task"]) == ("event_loop", "tell")
    assert {one["status"] for one in found[1:]} == {"completed"}


async def test_a_type_that_is_none_fails_its_task(here: Rest) -> None:
    number = await flow(here, {"id": "tell", "type": "publish_event", "data": {"event": "{{input.kind}}"}})
    view = (await here.post(f"/workflows/{number}/execute?wait=10", {"input": {"kind": "a b"}})).json()
    assert view["error"]["type"] == "invalid_config"
    answer: Answer = await here.post(
        "/workflows", {"nodes": [{"id": "a", "type": "publish_event", "data": {"event": "a b"}}]}
    )
    assert answer.pointers == ["/nodes/0/data/event"]


async def test_a_document_takes_no_name_of_our_own(here: Rest) -> None:
    node = {"id": "a", "type": "publish_event", "data": {"event": "a", "key": "@execution:1/tell/"}}
    assert (await here.post("/workflows", {"nodes": [node]})).pointers == ["/nodes/0/data/key"]
    number = await flow(here, {**node, "data": {"event": "a", "key": "{{input.key}}"}})
    started = await here.post(f"/workflows/{number}/execute?wait=10", {"input": {"key": "@execution:1/tell/"}})
    assert started.json()["error"]["type"] == "invalid_config"


# --- pages, and servers that are away ---


async def test_more_triggers_than_a_page_holds(here: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "PAGE", 2)
    flows = [await flow(here, trigger="many") for _ in range(5)]
    assert [one["workflow_id"] for one in (await send(here, {}, "?type=many"))["started"]] == flows


async def test_what_a_database_that_is_away_has_prevented_follows_by_itself(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(database_url=sqlite_url, lease_seconds=0.5)
    async with open_service(settings, engine=True) as service:
        rest = Rest(build(service))
        number = await flow(rest, trigger="later")
        look, calls = service._store.triggers_for, 0

        async def away_once(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise StoreUnavailable
            return await look(*args)

        monkeypatch.setattr(service._store, "triggers_for", away_once)
        made = await send(rest, {"x": 1}, "?type=later", idempotency_key="k")
        assert (made["handled"], made["started"]) == (False, [])
        view = await ended(rest, (await one_of(rest, number))["execution_id"])
        assert view["input"] == {"x": 1}
        again = await send(rest, {"x": 1}, "?type=later", idempotency_key="k")
        assert (again["replayed"], again["handled"]) == (True, True)
        assert [one["execution_id"] for one in again["started"]] == [view["id"]]
