"""Waits that the world can see: opened with their event, decided once, whoever comes first."""

import asyncio
from typing import Any

import pytest

from engine.errors import BatchRefused
from engine.model import Answer
from engine.ports import Append, Store
from engine.received import WokenByEvent
from engine.states import ExecutionStatus
from engine.waits import Decision, Lapse, NewWait, Wait, WaitFilter, WaitLapse, signal_name
from storage.schema import migration_engine
from storage.waits import page
from tests.stores import SPACE, TOLD, begins, ends, execution, parks, says, seqs, sql

ALL = WaitFilter(SPACE)


def asks(task: str = "a", kind: str = "approval", topic: str | None = None, due_in: float | None = None) -> NewWait:
    return NewWait(task, kind, topic, b'{"who":["anna"],"\xc3\xbc":"\'%s"}', due_in)


def decides(number: int, task: str = "a", decision: str = "approved", **fields: Any) -> Decision:
    return Decision(number, task, decision, fields.pop("answer", Answer({"n": 1}, decision)), **fields)


async def waiting(store: Store, lease: int, *waits: NewWait, park: bool = True) -> int:
    """An execution whose tasks wait so."""
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number, workflow_id=7)])
    parked = parks(number, 2).park if park else None
    await store.commit(lease, 2, [says(number, 2, status=ExecutionStatus.WAITING, park=parked, asks=waits)])
    return number


async def only(store: Store, where: WaitFilter = ALL) -> Wait:
    (wait,) = await store.list_waits(where, None, 10)
    return wait


async def test_a_wait_is_opened_with_its_event(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number, workflow_id=7)])
    at = (await store.commit(lease, 2, [says(number, 2, asks=(asks("a", topic="t", due_in=2.5),))])).at
    wait = await only(store)
    due = wait.due_at
    assert due == pytest.approx(at + 2.5, abs=1e-5)
    details = {"who": ["anna"], "ü": "'%s"}
    expected = Wait(wait.id, SPACE, 7, number, "a", "approval", "t", details, at, due)
    assert wait == expected


async def test_a_refused_append_opens_nothing(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    with pytest.raises(BatchRefused):
        await store.commit(lease, 2, [says(number, 1, asks=(asks(),))])
    assert await store.list_waits(ALL, None, 10) == []


async def test_a_wait_may_be_opened_by_the_first_append(store: Store, lease: int) -> None:
    first, second = await store.reserve_ids(2)
    starts = [
        Append(number, 1, (TOLD,), execution(idempotency_key="k"), asks=(asks(f"t{number}"),))
        for number in (first, second)
    ]
    await store.commit(lease, 1, starts)
    assert (await only(store)).execution_id == first, "the other start was not made"


async def test_a_task_waits_once(store: Store, lease: int) -> None:
    number = await waiting(store, lease, asks(), park=False)
    with pytest.raises(BatchRefused):
        await store.commit(lease, 3, [says(number, 3, asks=(asks(),))])
    await store.commit(lease, 4, [says(number, 3, asks=(asks("m[17]"), asks("m[18]")))])
    assert len(await store.list_waits(ALL, None, 10)) == 3


async def test_a_decision_ends_the_wait_and_wakes_the_execution(store: Store, lease: int) -> None:
    number = await waiting(store, lease, asks())
    assert await store.decide_waits([decides(number, by="anna's", comment='"%s" ü')]) == [True]
    wait = await only(store)
    assert (wait.decision, wait.decided_by, wait.comment) == ("approved", "anna's", '"%s" ü')
    assert wait.decided_at is not None
    assert wait.decided_at >= wait.opened_at
    (claimed,) = (await store.claim(lease, 10)).executions
    assert claimed.id == number
    (signal,) = await store.inbox(lease, [number])
    assert (signal.kind, signal.name, signal.dedupe_key) == ("answer", signal_name("a"), None)
    assert signal.payload == b'{"output":{"n":1},"label":"approved"}'


async def test_a_parked_execution_with_an_answer_is_due_at_once(store: Store, lease: int) -> None:
    number = await waiting(store, lease, asks(), park=False)
    await store.decide_waits([decides(number)])
    await store.commit(lease, 3, [parks(number, 3)])
    assert [row.id for row in (await store.claim(lease, 10)).executions] == [number]


async def test_the_first_decision_stands(store: Store, lease: int) -> None:
    number = await waiting(store, lease, asks())
    assert await store.decide_waits([decides(number, by="anna")]) == [True]
    assert await store.decide_waits([decides(number, decision="rejected", by="bert")]) == [False]
    assert (await only(store)).decided_by == "anna"
    await store.claim(lease, 10)
    assert len(await store.inbox(lease, [number])) == 1


async def test_of_two_decisions_in_one_call_one_stands(store: Store, lease: int) -> None:
    number = await waiting(store, lease, asks(), asks("b"))
    made = [decides(number, by="anna"), decides(number, "b"), decides(number, by="bert")]
    answers = await store.decide_waits(made)
    assert sorted(answers) == [False, True, True]
    assert answers[1]
    await store.claim(lease, 10)
    assert len(await store.inbox(lease, [number])) == 2
    assert await store.decide_waits([]) == []


async def test_of_twenty_at_once_one_decides(store: Store, lease: int) -> None:
    number = await waiting(store, lease, asks())
    answers = await asyncio.gather(*(store.decide_waits([decides(number, by=f"p{n}")]) for n in range(20)))
    assert sum(answer[0] for answer in answers) == 1
    winner = next(n for n, answer in enumerate(answers) if answer[0])
    assert (await only(store)).decided_by == f"p{winner}"
    await store.claim(lease, 10)
    assert len(await store.inbox(lease, [number])) == 1


async def test_crossing_decisions_do_not_block_each_other(store: Store, lease: int) -> None:
    numbers = [await waiting(store, lease, asks(), asks("b")) for _ in range(6)]
    one = [decides(number, task) for number in numbers for task in "ab"]
    answers = await asyncio.gather(*(store.decide_waits(one[::step]) for step in (1, -1) * 5))
    assert sum(sum(answer) for answer in answers) == 12


async def test_there_is_nothing_to_decide(store: Store, lease: int) -> None:
    number = await waiting(store, lease, asks(), park=False)
    other = await waiting(store, lease, asks(), park=False)
    await store.commit(lease, 3, [ends(other, 3)])
    answers = await store.decide_waits([decides(number, "b"), decides(4711), decides(other), decides(number)])
    assert answers == [False, False, False, True]


# --- the owner's word ---


def lapses(number: int, seq: int, lapse: Lapse, task: str = "a", **changes: Any) -> Append:
    return says(number, seq, lapses=(WaitLapse(task, lapse),), **changes)


async def test_a_time_out_is_a_decision(store: Store, lease: int) -> None:
    number = await waiting(store, lease, asks(), park=False)
    at = (await store.commit(lease, 3, [lapses(number, 3, Lapse.TIMEOUT)])).at
    wait = await only(store)
    assert (wait.decision, wait.decided_at, wait.decided_by) == ("timeout", at, None)
    assert await store.decide_waits([decides(number)]) == [False]
    assert await store.inbox(lease, [number]) == []


async def test_a_time_out_after_a_decision_is_refused_with_all_that_it_says(store: Store, lease: int) -> None:
    number, other = await waiting(store, lease, asks(), park=False), await waiting(store, lease, asks(), park=False)
    await store.decide_waits([decides(number, by="anna")])
    with pytest.raises(BatchRefused):
        await store.commit(lease, 3, [lapses(other, 3, Lapse.TIMEOUT), lapses(number, 3, Lapse.TIMEOUT)])
    assert await seqs(store, number) == await seqs(store, other) == [1, 2]
    pending = await store.list_waits(WaitFilter(SPACE, pending=True), None, 10)
    assert [wait.execution_id for wait in pending] == [other]
    await store.commit(lease, 4, [lapses(other, 3, Lapse.TIMEOUT)])


async def test_a_time_out_of_a_wait_that_is_gone_is_taken(store: Store, lease: int) -> None:
    """Else its execution could never go on."""
    number = await waiting(store, lease, park=False)
    await store.commit(lease, 3, [lapses(number, 3, Lapse.TIMEOUT)])
    assert await seqs(store, number) == [1, 2, 3]


async def test_a_time_out_and_a_decision_at_once(store: Store, lease: int) -> None:
    for turn in range(20):
        number = await waiting(store, lease, asks(), park=False)
        late = store.commit(lease, 100 + turn, [lapses(number, 3, Lapse.TIMEOUT)])
        calls: list[Any] = [store.decide_waits([decides(number)]), late]
        answers = await asyncio.gather(*(calls if turn % 2 else reversed(calls)), return_exceptions=True)
        decided, timed_out = answers if turn % 2 else reversed(answers)
        assert (decided == [True]) == isinstance(timed_out, BatchRefused)
        assert len(await store.inbox(lease, [number])) == (decided == [True])
        assert len(await seqs(store, number)) == (2 if decided == [True] else 3)


async def test_the_end_of_an_execution_closes_its_waits(store: Store, lease: int) -> None:
    number = await waiting(store, lease, asks(), asks("b"), park=False)
    await store.decide_waits([decides(number, by="anna")])
    closing = tuple(WaitLapse(task, Lapse.CLOSED) for task in "ab")
    await store.commit(lease, 3, [says(number, 3, status=ExecutionStatus.CANCELLED, lapses=closing)])
    found = {wait.task: wait.decision for wait in await store.list_waits(ALL, None, 10)}
    assert found == {"a": "approved", "b": "closed"}


async def test_a_wait_may_open_and_close_in_one_append(store: Store, lease: int) -> None:
    (number,) = await store.reserve_ids(1)
    await store.commit(lease, 1, [begins(number)])
    closed = (WaitLapse("a", Lapse.CLOSED),)
    await store.commit(lease, 2, [says(number, 2, status=ExecutionStatus.FAILED, asks=(asks(),), lapses=closed)])
    assert (await only(store)).decision == "closed"


async def test_who_was_woken_is_counted_and_the_first_are_named(store: Store, lease: int) -> None:
    numbers = [await waiting(store, lease, asks("a", "event", "paid"), asks("b")) for _ in range(3)]
    for number in reversed(numbers):
        await store.decide_waits([decides(number, task, "received", by="event:1") for task in "ab"])
    named = [WokenByEvent(number, "a") for number in numbers]
    assert await store.woken_by("event:1", 2) == (named[:2], 3)
    assert await store.woken_by("event:1", 3) == (named, 3)
    assert await store.woken_by("event:2", 2) == ([], 0)


# --- lists ---


async def test_pages_are_newest_first(store: Store, lease: int) -> None:
    number = await waiting(store, lease, *(asks(f"t{n}") for n in range(7)))
    first = await store.list_waits(ALL, None, 3)
    second = await store.list_waits(ALL, first[-1].id, 3)
    third = await store.list_waits(ALL, second[-1].id, 3)
    assert [wait.task for wait in (*first, *second, *third)] == [f"t{n}" for n in reversed(range(7))]
    assert {wait.execution_id for wait in first} == {number}


async def test_a_list_shows_what_is_asked_for(store: Store, lease: int) -> None:
    first = await waiting(store, lease, asks("a"), asks("e", "event", "order.paid"))
    second = await waiting(store, lease, asks("a"), asks("f", "event", "order.sent"))
    await store.decide_waits([decides(first)])

    async def found(**where: Any) -> set[tuple[int, str]]:
        waits = await store.list_waits(WaitFilter(SPACE, **where), None, 10)
        return {(wait.execution_id, wait.task) for wait in waits}

    assert await found(kind="approval") == {(first, "a"), (second, "a")}
    assert await found(kind="approval", pending=True) == {(second, "a")}
    assert await found(kind="approval", pending=False) == {(first, "a")}
    assert await found(execution_id=first) == {(first, "a"), (first, "e")}
    assert await found(execution_id=first, task="e") == {(first, "e")}
    assert await found(topic="order.paid", pending=True) == {(first, "e")}
    assert await found(topic="order.%") == set()
    assert await store.list_waits(WaitFilter("elsewhere"), None, 10) == []


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ({"pending": True}, "ix_wait_open"),
        ({"decision": "rejected"}, "ix_wait_decision"),
        ({"decision": "rejected", "pending": False}, "ix_wait_decision"),
    ],
)
async def test_a_page_among_many_waits_is_found_by_an_index(
    store: Store, store_url: str, where: dict[str, Any], index: str
) -> None:
    """One in a thousand waits was rejected, the oldest of them all."""
    rows = "SELECT n FROM generate_series(1, 10000) AS n"
    if store_url.startswith("sqlite"):
        rows = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 10000) SELECT n FROM s"
    now, details = ("0", "x'7b7d'") if store_url.startswith("sqlite") else ("now()", "'\\x7b7d'::bytea")
    word = "CASE WHEN n <= 10 THEN 'rejected' WHEN n <= 9000 THEN 'approved' END"
    decided_at = f"CASE WHEN n <= 9000 THEN {now} END"
    sql(
        store_url,
        "INSERT INTO wait (namespace, workflow_id, execution_id, task, kind, details, opened_at, decided_at, decision) "
        f"SELECT '{SPACE}', 1, n, 'a', 'approval', {details}, {now}, {decided_at}, {word} FROM ({rows}) AS r",
    )
    asked = WaitFilter(SPACE, "approval", **where)
    assert f"{index} " in _plan(store_url, asked)
    found = await store.list_waits(asked, None, 20)
    assert len(found) == (10 if "decision" in where else 20)


def _plan(url: str, where: WaitFilter) -> str:
    engine = migration_engine(url)
    compiled = page(where, 10**6, 20).compile(engine)
    names = compiled.positiontup
    values = compiled.params if names is None else tuple(compiled.params[name] for name in names)
    explain = "EXPLAIN QUERY PLAN" if url.startswith("sqlite") else "EXPLAIN"
    with engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE wait")
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {compiled}", values))
    engine.dispose()
    return plan
