"""What runs in a Ray actor, without Ray: whose results go where, what is kept, and when it leaves."""

import asyncio
import os
import pickle
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from engine.model import Completed, Result, TaskCall
from executors import _ray_worker
from executors._ray_wire import Sent, batches, call_id, pack, read_done
from executors._ray_worker import RayWorker
from tests.conformance.executor_host import Marks, open_host

read_result = msgspec.json.Decoder(Result).decode
DESCRIBE = "light:describe"


def sent(task: str, kind: str = DESCRIBE, **config: Any) -> Sent:
    call = TaskCall(1, task, kind, {"x": 0, **config})
    return Sent(call_id(call), msgspec.json.encode(call))


def name(task: str) -> str:
    return call_id(TaskCall(1, task, "", {}))


async def submit(worker: RayWorker, owner: str, *calls: Sent) -> dict[str, Result]:
    return _results(await worker.submit(owner, pack(list(calls))))


async def take(worker: RayWorker, owner: str) -> dict[str, Result]:
    return _results(await worker.take(owner))


def _results(packed: bytes) -> dict[str, Result]:
    return {done.id: read_result(done.payload) for done in read_done(packed)}


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RayWorker]:
    monkeypatch.setattr(_ray_worker, "WAIT", 0.05)
    monkeypatch.setattr(_ray_worker, "LOOK", 0.01)
    worker = RayWorker(pickle.dumps(open_host), {}, 2, 3600.0, lambda: None)
    await worker.open()
    yield worker
    await worker.close()
    worker._linger = -1.0  # its thread ends


async def test_results_go_to_who_sent_the_call(worker: RayWorker, tmp_path: Any) -> None:
    marks = Marks(tmp_path)
    for owner, task in (("one", "a"), ("two", "b")):
        assert await submit(worker, owner, sent(task, "async:wait", marks=str(tmp_path))) == {}
    marks.put("go")
    await marks.wait_count("ended", 2)
    assert set(await take(worker, "two")) == {name("b")}
    assert set(await take(worker, "one")) == {name("a")}
    assert await take(worker, "one") == {}


async def test_what_ends_at_once_is_answered_at_once(worker: RayWorker) -> None:
    assert await submit(worker, "one", sent("a")) == {name("a"): Completed(["a", 0, 1, "", ""])}
    assert await take(worker, "one") == {}


async def test_a_call_that_comes_twice_runs_once(worker: RayWorker, tmp_path: Any) -> None:
    marks = Marks(tmp_path)
    wait = sent("a", "async:wait", marks=str(tmp_path))
    assert set(await submit(worker, "one", wait, sent("b"))) == {name("b")}
    assert await submit(worker, "one", wait, sent("b")) == {}
    await marks.wait("a.began")
    marks.put("go")
    await marks.wait("a.ended")
    assert set(await take(worker, "one")) == {name("a")}
    assert await take(worker, "one") == {}


async def test_who_attaches_gets_what_runs_and_what_has_ended(worker: RayWorker, tmp_path: Any) -> None:
    marks = Marks(tmp_path)
    await submit(worker, "dead", sent("runs", "async:wait", marks=str(tmp_path)), sent("ended"))
    await take(worker, "dead")
    known = await worker.attach("heir", [name("runs"), name("ended"), name("never")])
    assert known == [name("runs"), name("ended")]
    assert set(await take(worker, "heir")) == {name("ended")}
    marks.put("go")
    await marks.wait("runs.ended")
    assert set(await take(worker, "heir")) == {name("runs")}
    assert await take(worker, "dead") == {}


async def test_a_call_said_to_be_unknown_never_begins(worker: RayWorker) -> None:
    assert await worker.attach("heir", [name("late")]) == []
    assert set(await submit(worker, "dead", sent("late"), sent("other"))) == {name("other")}


async def test_a_cancelled_call_is_stopped_and_forgotten(worker: RayWorker, tmp_path: Any) -> None:
    marks = Marks(tmp_path)
    await submit(worker, "one", sent("a", "async:wait", marks=str(tmp_path)))
    await marks.wait("a.began")
    await worker.cancel([name("a"), name("never")])
    await marks.wait("a.cancelled")
    assert await take(worker, "one") == {}
    assert await worker.attach("one", [name("a")]) == []


async def test_old_results_are_dropped_when_they_grow_too_large(
    worker: RayWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ray_worker, "KEPT", 3000)
    assert len(await submit(worker, "one", *(sent(f"t{n}", "light:large", letters=500) for n in range(4)))) == 4
    assert await worker.attach("two", [name(f"t{n}") for n in range(4)]) == [name("t2"), name("t3")]


async def test_an_answer_has_a_bound_and_the_rest_follows(worker: RayWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ray_worker, "REPLY", 3000)
    assert len(await submit(worker, "one", *(sent(f"t{n}", "light:large", letters=500) for n in range(4)))) == 2
    assert [len(await take(worker, "one")) for _ in range(2)] == [2, 0]


async def test_take_comes_back_with_the_first_result(
    worker: RayWorker, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ray_worker, "WAIT", 60.0)
    marks = Marks(tmp_path)
    taking = asyncio.create_task(take(worker, "one"))
    await submit(worker, "one", sent("at_once"), sent("a", "async:wait", marks=str(tmp_path)))
    await asyncio.sleep(0.01)
    assert not taking.done()
    marks.put("go")
    assert set(await taking) == {name("a")}


async def test_it_stays_while_something_runs_or_waits_to_be_taken(worker: RayWorker, tmp_path: Any) -> None:
    later = time.monotonic() + 3601.0
    assert worker._is_useless(later)
    marks = Marks(tmp_path)
    await submit(worker, "one", sent("a", "async:wait", marks=str(tmp_path)))
    assert not worker._is_useless(later)
    marks.put("go")
    await marks.wait("a.ended")
    await asyncio.sleep(0.02)
    worker._owners["one"].asked = later
    assert not worker._is_useless(later)
    assert worker._is_useless(later + _ray_worker.RETAIN + 1)


async def test_it_leaves_when_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ray_worker, "LOOK", 0.001)
    loop, left = asyncio.get_running_loop(), asyncio.Event()
    RayWorker(b"", {}, 1, 0.01, lambda: loop.call_soon_threadsafe(left.set))
    async with asyncio.timeout(30):
        await left.wait()


def test_settings_of_the_engine_reach_it_and_its_own_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "worker")
    monkeypatch.delenv("THEIRS", raising=False)
    RayWorker(b"", {"OURS": "engine", "THEIRS": "engine"}, 1, 0.0, lambda: None)
    assert (os.environ["OURS"], os.environ["THEIRS"]) == ("worker", "engine")
    monkeypatch.delenv("THEIRS")


def test_batches_have_a_bound_in_bytes() -> None:
    calls = [Sent(str(n), b"x" * size) for n, size in enumerate((3, 3, 9, 1))]
    assert [[call.id for call in batch] for batch in batches(calls, 6)] == [["0", "1"], ["2"], ["3"]]
    assert list(batches([], 6)) == []


def test_an_attempt_has_one_name_in_every_process() -> None:
    assert call_id(TaskCall(7, "t3", "noop", {}, attempt=2)) == "e7-tt3-i0-a2"
    assert call_id(TaskCall(7, "t3", "noop", {}, iteration="1.2")) == "e7-tt3-i1.2-a1"
