"""What only Ray can show: nodes that come and go, a head that is lost, resources, and a Ray of our own."""

import asyncio
import os
import signal
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bootstrap.alone import Suspects
from deploy.processes import ROOT
from deploy.servers import RayNode
from engine.errors import ConfigurationError, Unavailable
from engine.model import Completed, Lost, Outcome, Resources, Result, TaskCall
from engine.task_ports import ExecutorOptions, Host, OpenHost
from executors.ray_executor import open_executor
from tests import servers
from tests.conformance.executor_host import HOST, Marks, open_host

SECONDS = 120.0
"""How long a test waits for what must come, on a busy machine."""


class Engine:
    """An engine's side."""

    def __init__(self, address: str | None, host: OpenHost = open_host, installation: str = "") -> None:
        self.installation = installation or uuid.uuid4().hex
        options = ExecutorOptions(HOST, host, 4, ray_address=address, installation=self.installation)
        self.executor = open_executor(options)
        self.reports: dict[str, Result] = {}

    async def __aenter__(self) -> "Engine":
        """As long as an engine has patience with an executor that starts: a busy machine makes a head slow."""
        async with asyncio.timeout(SECONDS):
            while True:
                with suppress(Unavailable):
                    await self.executor.start(self._report)
                    return self
                await asyncio.sleep(1)

    async def __aexit__(self, *_: object) -> None:
        self.executor.cancel(list(self.executor._flying.values()))
        await self.executor.stop()

    def _report(self, call: TaskCall, result: Result, elapsed: float) -> None:
        assert call.task not in self.reports
        self.reports[call.task] = result

    def submit(self, kind: str, *tasks: str, marks: Marks | None = None, **fields: Any) -> list[TaskCall]:
        config = {"x": 1, "marks": str(marks.folder) if marks else ""}
        calls = [TaskCall(1, task, kind, config, **fields) for task in tasks]
        self.executor.submit(calls)
        return calls

    async def results(self, *tasks: str) -> list[Result]:
        async with asyncio.timeout(SECONDS):
            while not self.reports.keys() >= set(tasks):
                await asyncio.sleep(0.005)
        return [self.reports[task] for task in tasks]

    @property
    def bridge(self) -> int:
        """The process that speaks to Ray."""
        assert self.executor._bridge is not None
        return self.executor._bridge._process.pid


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """On the run's Ray."""
    async with Engine(servers.ray_head()) as engine:
        yield engine


# --- what breaks ---


async def test_calls_of_a_lost_head_are_lost_without_suspicion_and_others_wait_for_the_next(marks: Marks) -> None:
    with RayNode() as head:
        async with Engine(head.address) as engine:
            first = engine.bridge
            engine.submit("async:wait", "before", marks=marks)
            await marks.wait("before.began")
            head.stop("crash")
            await _until(lambda: engine.executor._bridge is None)
            calls = engine.submit("light:describe", "runs", "never")
            engine.executor.cancel(calls[1:])
            await asyncio.to_thread(head.start)
            lost, done = await engine.results("before", "runs")
            assert isinstance(lost, Lost)
            assert not lost.suspect
            assert isinstance(done, Completed)
            assert set(engine.reports) == {"before", "runs"}
            assert engine.bridge != first


async def test_calls_survive_the_process_that_speaks_to_ray(engine: Engine, marks: Marks) -> None:
    calls = engine.submit("async:wait", "goes_on", "stops", marks=marks)
    await marks.wait_count("began", 2)
    os.kill(engine.bridge, signal.SIGKILL)
    await _until(lambda: engine.executor._bridge is None)
    engine.executor.cancel(calls[1:])
    engine.submit("light:describe", "meanwhile")
    await marks.wait("stops.cancelled")
    marks.put("go")
    goes_on, meanwhile = await engine.results("goes_on", "meanwhile")
    assert isinstance(goes_on, Completed)
    assert isinstance(meanwhile, Completed)


async def test_calls_are_spread_over_nodes_and_a_removed_node_loses_only_its_own(marks: Marks) -> None:
    cluster = _cluster()
    try:
        async with Engine(cluster.address) as engine:
            places: dict[str, set[str]] = defaultdict(set)
            for number in count():
                engine.submit("async:wait", f"t{number}", marks=marks)
                places[await marks.wait(f"t{number}.began")].add(f"t{number}")
                if len(places) == 2 and number % 2:
                    break
                await asyncio.sleep(0.2)
            (node,) = cluster.worker_nodes
            cluster.remove_node(node, allow_graceful=False)
            await _until(lambda: bool(engine.reports))
            assert set(engine.reports) in places.values()
            assert all(isinstance(result, Lost) and result.suspect for result in engine.reports.values())
            marks.put("go")
            results = await engine.results(*(task for tasks in places.values() for task in tasks))
            assert {type(result) for result in results} == {Lost, Completed}
    finally:
        cluster.shutdown()


def _cluster() -> Any:
    """Ray's own utility: a head and one more node, on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    return cluster


async def _until(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not there():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def open_deadly() -> AsyncIterator[Host]:
    """A host whose only handler kills its process, or says which it is."""

    def run(call: TaskCall, beat: Callable[[], None]) -> Outcome:
        if call.type == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return Completed(os.getpid())

    yield Host(run, lambda kind: False, Suspects(open_deadly).run)


async def test_a_suspect_dies_alone() -> None:
    async with Engine(servers.ray_head(), open_deadly) as engine:
        engine.submit("deadly", "suspect", alone=True)
        engine.submit("harmless", "alone", alone=True)
        engine.submit("harmless", "beside", "beside too")
        suspect, alone, *beside = await engine.results("suspect", "alone", "beside", "beside too")
        assert suspect == Lost("the process that ran it alone was killed by SIGKILL")
        assert isinstance(alone, Completed)
        assert alone not in beside
        assert {type(result) for result in beside} == {Completed}


# --- resources ---


async def test_calls_with_resources_have_them_and_wait_for_them(engine: Engine, marks: Marks) -> None:
    """The run's Ray has two cores."""
    tasks = ["a", "b", "c"]
    engine.submit("async:wait", *tasks, marks=marks, resources=Resources(num_cpus=1))
    await marks.wait_count("began", 2)
    engine.submit("light:describe", "without")
    assert isinstance((await engine.results("without"))[0], Completed)
    assert marks.count("began") == 2
    marks.put("go")
    assert {type(result) for result in await engine.results(*tasks)} == {Completed}


async def test_a_killed_worker_with_resources_loses_only_its_call(engine: Engine, marks: Marks) -> None:
    (call,) = engine.submit("async:wait", "mine", marks=marks, resources=Resources(num_cpus=1))
    engine.submit("async:wait", "other", marks=marks)
    await marks.wait_count("began", 2)
    os.kill(int(await marks.wait("mine.began")), signal.SIGKILL)
    (lost,) = await engine.results("mine")
    assert isinstance(lost, Lost)
    assert lost.suspect
    marks.put("go")
    assert isinstance((await engine.results("other"))[0], Completed)
    again = msgspec.structs.replace(call, attempt=2)
    engine.reports.clear()
    engine.executor.submit([again])
    assert isinstance((await engine.results("mine"))[0], Completed)


async def test_a_call_that_asks_for_too_much_waits_and_can_be_cancelled(engine: Engine) -> None:
    calls = engine.submit("light:describe", "huge", resources=Resources(num_cpus=1000))
    await asyncio.sleep(1)
    engine.executor.cancel(calls)
    engine.submit("light:describe", "small", resources=Resources(num_cpus=0.5))
    assert isinstance((await engine.results("small"))[0], Completed)
    assert set(engine.reports) == {"small"}


# --- a Ray of our own, and none ---


@asynccontextmanager
async def open_reader() -> AsyncIterator[Host]:
    """A host whose only handler says what this process is told by its environment."""

    def run(call: TaskCall, beat: Callable[[], None]) -> Outcome:
        return Completed([os.environ.get(name) for name in call.config["names"]])

    yield Host(run, lambda kind: False)


async def test_a_ray_of_our_own_knows_our_settings_and_ends_with_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EGRESS_ALLOW_PRIVATE", "false")
    async with Engine(None, open_reader) as engine:
        call = TaskCall(1, "settings", "read", {"names": ["EGRESS_ALLOW_PRIVATE"]})
        engine.executor.submit([call])
        assert await engine.results("settings") == [Completed(["false"])]
        bridge = engine.bridge
    await _until(lambda: not _living(bridge))


def _living(session: int) -> list[str]:
    """The processes of a session that have not ended (Linux)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                found.append((process / "cmdline").read_text())
    return list(filter(None, found))


async def test_settings_reach_workers_of_a_cluster_and_the_database_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EGRESS_ALLOW_PRIVATE", "false")
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret@nowhere/db")
    async with Engine(servers.ray_head(), open_reader) as engine:
        call = TaskCall(1, "settings", "read", {"names": ["EGRESS_ALLOW_PRIVATE", "DATABASE_URL"]})
        engine.executor.submit([call])
        assert await engine.results("settings") == [Completed(["false", None])]


async def test_a_missing_library_is_said_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\", name='ray')")
    monkeypatch.setattr("executors.ray_executor.ROOT", f"{tmp_path}{os.pathsep}{ROOT}")
    with pytest.raises(ConfigurationError, match=r"needs the Python package ray.*pip install") as raised:
        await Engine("127.0.0.1:1").executor.start(lambda call, result, elapsed: None)
    assert "\n" not in raised.value.message


async def test_a_project_that_workers_cannot_import_is_said_with_its_cure() -> None:
    with pytest.raises(ConfigurationError, match="PYTHONPATH"):
        await Engine(servers.ray_head(), Nowhere()).executor.start(lambda call, result, elapsed: None)


class Nowhere:
    """An `open_host` of a module that workers do not have."""

    def __call__(self) -> AbstractAsyncContextManager[Host]:
        raise AssertionError("it is never opened")

    def __reduce__(self) -> tuple[Any, ...]:
        return _import, ("a_module_of_ours",)


def _import(name: str) -> Any:
    return __import__(name)


async def test_ray_client_reaches_a_cluster_from_outside(marks: Marks) -> None:
    with RayNode() as head:
        async with Engine(head.client_address) as engine:
            engine.submit("async:wait", "waits", marks=marks)
            engine.submit("light:describe", "single", resources=Resources(num_cpus=1))
            assert isinstance((await engine.results("single"))[0], Completed)
            os.kill(int(await marks.wait("waits.began")), signal.SIGKILL)
            (lost,) = await engine.results("waits")
            assert isinstance(lost, Lost)
            engine.submit("light:describe", "next")
            assert isinstance((await engine.results("next"))[0], Completed)
