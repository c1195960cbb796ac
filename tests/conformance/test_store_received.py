"""Triggers and events from outside in every store."""

import asyncio
from typing import Any

import pytest
from msgspec import structs

from engine import limits
from engine.errors import EventNotFound, Invalid, TriggerNotFound, WorkflowNotFound, WrittenOtherwise
from engine.events import EventRecord
from engine.ports import Store
from engine.received import ANY, NewReceived, TriggerSpec
from storage import postgresql_received, sqlite_received
from storage.schema import migration_engine
from tests.stores import SPACE, begins, says, sql, workflow

RULE: Any = {">": [{"var": "lead.score"}, 80.0]}
NEW = NewReceived("lead.created", b'{"lead":{"score":90}}', "key", b"digest")


# --- triggers ---


async def test_a_trigger_is_kept_changed_and_deleted(store: Store) -> None:
    flow = await store.create_workflow(workflow(key="flow"))
    made = await store.add_trigger(SPACE, "flow", TriggerSpec("lead.created", RULE))
    assert (made.workflow_id, made.event, made.condition, made.enabled, made.written) == (
        flow.id,
        "lead.created",
        RULE,
        True,
        False,
    )
    assert made.created_at == made.updated_at > 0
    assert await store.list_triggers(SPACE, flow.id) == [made] == [await store.get_trigger(SPACE, "flow", made.id)]
    changed = await store.update_trigger(SPACE, "flow", made.id, {"condition": "{{input.x}} > 1", "enabled": False})
    assert (changed.event, changed.condition, changed.enabled) == ("lead.created", "{{input.x}} > 1", False)
    await store.delete_trigger(SPACE, "flow", made.id)
    for call in (store.get_trigger, store.delete_trigger):
        with pytest.raises(TriggerNotFound):
            await call(SPACE, "flow", made.id)
    with pytest.raises(TriggerNotFound):
        await store.update_trigger(SPACE, "flow", 2**70, {})
    with pytest.raises(WorkflowNotFound):
        await store.add_trigger(SPACE, "elsewhere", TriggerSpec())


async def test_triggers_are_found_by_the_type_of_the_event(store: Store) -> None:
    flow = await store.create_workflow(workflow())
    specs = [TriggerSpec("a"), TriggerSpec("b"), TriggerSpec(ANY), TriggerSpec("a", enabled=False), TriggerSpec("a")]
    made = [await store.add_trigger(SPACE, flow.id, spec) for spec in specs]
    found = await store.triggers_for(SPACE, "a", 0, 10)
    assert [one.id for one in found] == [made[0].id, made[2].id, made[4].id]
    assert found[0] == made[0]
    assert [one.id for one in await store.triggers_for(SPACE, "a", made[0].id, 1)] == [made[2].id]
    assert await store.triggers_for("elsewhere", "a", 0, 10) == []


async def test_an_archived_workflow_has_no_trigger(store: Store) -> None:
    flow = await store.create_workflow(workflow())
    await store.add_trigger(SPACE, flow.id, TriggerSpec("a"))
    await store.archive_workflow(SPACE, flow.id)
    assert await store.triggers_for(SPACE, "a", 0, 10) == []
    with pytest.raises(WorkflowNotFound):
        await store.list_triggers(SPACE, flow.id)


async def test_there_is_a_most(store: Store) -> None:
    flow = await store.create_workflow(workflow())
    for _ in range(limits.TRIGGERS):
        await store.add_trigger(SPACE, flow.id, TriggerSpec())
    with pytest.raises(Invalid, match="100 triggers"):
        await store.add_trigger(SPACE, flow.id, TriggerSpec())


async def test_triggers_of_a_document_follow_it_and_keep_their_ids(store: Store) -> None:
    said = (TriggerSpec("a", RULE), TriggerSpec("b"))
    flow = await store.create_workflow(structs.replace(workflow(source=b"{}", dialect="graph"), triggers=said))
    added = await store.add_trigger(SPACE, flow.id, TriggerSpec("c"))
    first, second, third = await store.list_triggers(SPACE, flow.id)
    assert (first.written, second.written, third) == (True, True, added)
    for change in ({"enabled": False}, None):
        with pytest.raises(WrittenOtherwise, match="document"):
            await _change(store, flow.id, first.id, change)
    later = (TriggerSpec("d"), TriggerSpec("a", {">": [{"var": "lead.score"}, 80]}, enabled=False))
    await store.update_workflow(SPACE, flow.id, {"source": b"[]", "triggers": later})
    after = {one.event: one for one in await store.list_triggers(SPACE, flow.id)}
    assert set(after) == {"a", "c", "d"}
    assert (after["a"].id, after["a"].enabled, after["c"]) == (first.id, False, added)
    await store.update_workflow(SPACE, flow.id, {"name": "other"})
    assert len(await store.list_triggers(SPACE, flow.id)) == 3


async def _change(store: Store, workflow_id: int, trigger_id: int, change: dict[str, Any] | None) -> None:
    if change is None:
        await store.delete_trigger(SPACE, workflow_id, trigger_id)
    else:
        await store.update_trigger(SPACE, workflow_id, trigger_id, change)


async def test_ten_thousand_triggers_of_other_types_are_not_looked_at(store: Store, store_url: str) -> None:
    """The plan of the query says so: it goes by the index of the types."""
    flow = await store.create_workflow(workflow())
    rows = "SELECT n AS n FROM generate_series(1, 10000) AS n"
    if store_url.startswith("sqlite"):
        rows = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 10000) SELECT n FROM s"
    now = "0" if store_url.startswith("sqlite") else "now()"
    rule = "x'74727565'" if store_url.startswith("sqlite") else "'\\x74727565'::bytea"
    sql(
        store_url,
        f'INSERT INTO "trigger" (namespace, workflow_id, event, condition, enabled, written, created_at, updated_at) '
        f"SELECT 'default', {flow.id}, 'type.' || n, {rule}, true, false, {now}, {now} FROM ({rows}) AS r",
    )
    one = await store.create_workflow(workflow())
    mine = await store.add_trigger(SPACE, one.id, TriggerSpec("mine"))
    assert await store.triggers_for(SPACE, "mine", 0, 10) == [mine]
    assert "ix_trigger_event" in _plan(store_url)


def _plan(url: str) -> str:
    engine = migration_engine(url)
    with engine.begin() as connection:
        cursor = connection.connection.cursor()
        if url.startswith("sqlite"):
            cursor.execute(f"EXPLAIN QUERY PLAN {sqlite_received._TRIGGERS}", ("mine", 0, SPACE, 10))
        else:
            cursor.execute('ANALYZE "trigger"')
            part = postgresql_received.triggers_for(SPACE, "mine", 0, 10)
            cursor.execute(f"EXPLAIN {part[0]}", part[1])
        plan = "\n".join(str(row) for row in cursor.fetchall())
    engine.dispose()
    return plan


# --- events ---


async def test_an_event_is_kept_as_it_came(store: Store) -> None:
    made, new = await store.receive_event(SPACE, NEW, 60)
    assert new
    assert (made.type, made.payload, made.key, made.digest, made.depth) == (NEW.type, NEW.payload, "key", b"digest", 0)
    assert (made.handled_at, made.outcome) == (None, None)
    assert await store.get_received(SPACE, made.id) == made
    for space, number in ((SPACE, made.id + 1), (SPACE, 2**70), ("elsewhere", made.id)):
        with pytest.raises(EventNotFound):
            await store.get_received(space, number)


async def test_a_key_names_one_event_whoever_is_first(store: Store) -> None:
    answers = await asyncio.gather(*(store.receive_event(SPACE, NEW, 60) for _ in range(20)))
    assert len({event.id for event, _ in answers}) == 1
    assert sum(new for _, new in answers) == 1
    others = [await store.receive_event(space, structs.replace(NEW, key=key), 60) for space, key in PLACES]
    assert all(new for _, new in others)
    assert len({event.id for event, _ in others}) == len(PLACES)


PLACES = ((SPACE, "other"), ("elsewhere", "key"), (SPACE, None), (SPACE, None))


async def test_an_event_is_held_and_then_free(store: Store) -> None:
    held, _ = await store.receive_event(SPACE, NEW, 60)
    assert await store.claim_received(10, 60) in ([], ())
    assert await store.claim_received(1, 60, held.id) in ([], ())
    first, second = [(await store.receive_event(SPACE, structs.replace(NEW, key=None), 0))[0] for _ in range(2)]
    assert list(await store.claim_received(10, 60, second.id)) == [second]
    assert list(await store.claim_received(10, 0)) == [first]
    assert list(await store.claim_received(10, 60)) == [first]
    assert await store.claim_received(10, 60) in ([], ())


async def test_claims_share_what_is_due(store: Store) -> None:
    made = [(await store.receive_event(SPACE, structs.replace(NEW, key=None), 0))[0].id for _ in range(30)]
    claims = await asyncio.gather(*(store.claim_received(10, 60) for _ in range(6)))
    taken = [event.id for claim in claims for event in claim]
    assert len(taken) == len(set(taken))
    rest = [event.id for _ in range(3) for event in await store.claim_received(10, 60)]
    assert sorted(taken + rest) == made


async def test_the_next_event_to_be_claimed_is_known(store: Store) -> None:
    assert await store.next_outside() is None
    await store.receive_event(SPACE, structs.replace(NEW, key=None), 60)
    delay = await store.next_outside()
    assert delay is not None
    assert 0 < delay <= 60
    made, _ = await store.receive_event(SPACE, NEW, 0)
    delay = await store.next_outside()
    assert delay is not None
    assert delay <= 0
    await store.settle_received(made.id, b"{}")
    delay = await store.next_outside()
    assert delay is not None
    assert delay > 0


async def test_what_followed_is_said_once(store: Store) -> None:
    made, _ = await store.receive_event(SPACE, NEW, 0)
    settled = await store.settle_received(made.id, b'{"a":1}')
    assert (settled.outcome, settled.handled_at is not None) == (b'{"a":1}', True)
    assert await store.settle_received(made.id, b'{"b":2}') == settled
    assert await store.claim_received(10, 60) in ([], ())


# --- published by a task ---


def publishes(*events: NewReceived) -> tuple[EventRecord, ...]:
    return (EventRecord("TaskCompleted", b'{"task":"a"}', events),)


async def test_what_a_task_publishes_is_there_with_its_completion(store: Store, lease: int) -> None:
    await store.commit(lease, 1, [begins(1)])
    events = publishes(structs.replace(NEW, depth=3), structs.replace(NEW, key=None), NEW)
    await store.commit(lease, 2, [structs.replace(says(1, 2), events=events)])
    due = list(await store.claim_received(10, 60))
    assert [(one.type, one.payload, one.key, one.digest, one.depth) for one in due] == [
        (NEW.type, NEW.payload, "key", b"digest", 3),
        (NEW.type, NEW.payload, None, b"digest", 0),
    ]


async def test_what_is_not_committed_is_not_published(store: Store, lease: int) -> None:
    await store.commit(lease, 1, [begins(1)])
    refused = [structs.replace(says(1, 1), events=publishes(NEW))]
    with pytest.raises(Exception, match="cannot be stored"):
        await store.commit(lease, 2, refused)
    assert await store.claim_received(10, 60) in ([], ())


async def test_a_known_key_does_not_harm_the_completion(store: Store, lease: int) -> None:
    await store.receive_event(SPACE, NEW, 60)
    await store.commit(lease, 1, [begins(1)])
    await store.commit(lease, 2, [structs.replace(says(1, 2), events=publishes(NEW))])
    assert len((await store.read_events({1: 0}))[1]) == 2
    assert await store.claim_received(10, 60) in ([], ())
