"""The Ray workers of one engine: some on every node for plain calls, one per call for those that ask for resources.

They are detached actors, so that calls outlive their engine: whoever takes over finds them by the namespace.
"""

import asyncio
import heapq
import logging
import math
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import count
from typing import Any, Protocol

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from engine.model import Resources
from executors._ray_wire import Gone, Results, Sent, Setup, batches, pack, read_done
from executors._ray_worker import RayWorker

PER_NODE = 4
"""Workers on a node with at least so many cores; one per core on a smaller one."""
LINGER = 30.0
"""Seconds that a plain worker outlives its engine, if nothing runs in it: somebody may ask for its results."""
LINGER_ALONE = 20.0
"""The same for one that holds resources."""
IDLE = 1.0
"""Seconds that a worker with resources waits for another call that asks for the same."""
ASKED = 2
"""Workers with the same resources that are asked for at once; more when these have come."""
BATCH = 8 * 2**20
"""Bytes of calls in one message to a worker."""
ANSWER = 10.0
"""Seconds within which a worker that lives answers."""
ASLEEP = 60.0
"""Seconds for an answer after which this process must have slept, and may have missed something."""
PAUSE = 0.5
"""Seconds between two tries to reach a worker."""

log = logging.getLogger(__name__)
Tell = Callable[[Results | Gone], None]


class Head(Protocol):
    """The cluster's."""

    async def answers(self) -> None:
        """Returns if it lives; else this process ends."""
        ...

    def fail(self, error: BaseException | None) -> None:
        """Something went wrong that nobody foresaw: ends this process, the engine makes another."""
        ...


class _Worker:
    """An actor, and the calls that it has and we wait for."""

    def __init__(self, name: str, actor: Any, node: str = "", wants: Resources | None = None) -> None:
        self.name = name
        self.actor = actor
        self.node = node
        self.wants = wants
        self.calls: set[str] = set()
        self.adopted = False
        self.listening = False
        self.used: float | None = None
        """When it last had something to do for us."""


class Pool:
    """All in the bridge's loop. What blocks in Ray's API runs in threads."""

    def __init__(self, setup: Setup, owner: str, tell: Tell, head: "Head") -> None:
        self._setup = setup
        self._owner = owner
        self._tell = tell
        self._head = head
        self._names = count(1)
        self._actor = ray.remote(RayWorker)
        self._plain: list[_Worker] = []
        self._places: dict[str, _Worker] = {}
        """Who has a call, by the call's id."""
        self._waiting: deque[Sent] = deque()
        self._single: defaultdict[Resources, deque[Sent]] = defaultdict(deque)
        self._asked: defaultdict[Resources, list[_Worker]] = defaultdict(list)
        self._idle: defaultdict[Resources, list[_Worker]] = defaultdict(list)
        self._stopping = False
        self._tasks: set[asyncio.Task[object]] = set()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # --- workers for plain calls ---

    async def start(self) -> None:
        """Returns with the first worker that takes calls. Raises why there is none."""
        await self.look(await asyncio.to_thread(ray.nodes))
        await asyncio.shield(self._opened)

    async def look(self, nodes: Sequence[dict[str, Any]]) -> None:
        """Every living node gets its workers; one without a core is none for work."""
        for node in nodes:
            if not node["Alive"]:
                continue
            number = node["NodeID"]
            wanted = min(math.ceil(node["Resources"].get("CPU", 0)), PER_NODE)
            for _ in range(wanted - sum(worker.node == number for worker in self._plain)):
                worker = _Worker(f"{self._owner}-{next(self._names)}", None, number)
                self._plain.append(worker)
                self._spawn(self._open_plain(worker))

    async def _open_plain(self, worker: _Worker) -> None:
        strategy = NodeAffinitySchedulingStrategy(worker.node, soft=False)
        try:
            await self._open(worker, LINGER, {"num_cpus": 0, "scheduling_strategy": strategy})
        except Exception as error:
            if not self._stopping:
                log.warning("no worker on node %s: %s", worker.node, _line(error))
            self._plain.remove(worker)
            if not self._opened.done() and not self._plain:
                self._opened.set_exception(error)
            return
        if not self._opened.done():
            self._opened.set_result(None)
        self._hear(worker)
        waiting, self._waiting = self._waiting, deque()
        self._place(waiting)

    async def _open(self, worker: _Worker, linger: float, options: dict[str, Any]) -> None:
        setup = self._setup
        make = self._actor.options(
            name=worker.name,
            lifetime="detached",
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=1000,
            **options,
        ).remote
        worker.actor = await asyncio.to_thread(make, setup.open_host, setup.environment, setup.threads, linger)
        await worker.actor.open.remote()

    # --- calls ---

    def submit(self, calls: Iterable[Sent]) -> None:
        plain: list[Sent] = []
        for call in calls:
            if call.resources is None:
                plain.append(call)
            else:
                self._single[call.resources].append(call)
                self._serve(call.resources)
        self._place(plain)

    def _place(self, calls: Iterable[Sent]) -> None:
        """Each to the worker that has the fewest."""
        load = [(len(worker.calls), n, worker) for n, worker in enumerate(self._plain) if worker.listening]
        if not load:
            self._waiting.extend(calls)
            return
        heapq.heapify(load)
        shares: dict[int, list[Sent]] = defaultdict(list)
        for call in calls:
            held, n, worker = load[0]
            heapq.heapreplace(load, (held + 1, n, worker))
            shares[n].append(call)
        for n, share in shares.items():
            self._send(self._plain[n], share)

    def _send(self, worker: _Worker, calls: Sequence[Sent]) -> None:
        worker.used = asyncio.get_running_loop().time()
        for call in calls:
            self._places[call.id] = worker
            worker.calls.add(call.id)
        for batch in batches(calls, BATCH):
            self._spawn(self._submit(worker, worker.actor.submit.remote(self._owner, pack(batch))))

    async def _submit(self, worker: _Worker, answer: Any) -> None:
        try:
            reply = await answer
        except ActorUnavailableError:
            await self._compare(worker)
        except RayActorError as error:
            await self._died(worker, error)
        else:
            self._ended(worker, reply)

    async def attach(self, ids: list[str]) -> None:
        """Asks every worker of the installation; what nobody knows is gone."""
        named = await asyncio.to_thread(ray.util.list_named_actors)
        mine = {worker.name: worker for worker in [*self._plain, *set(self._places.values())]}
        found = await asyncio.gather(*(self._ask(name, mine.get(name), ids) for name in named))
        known = {name for names in found for name in names}
        missing = [name for name in ids if name not in known]
        if missing:
            self._tell(Gone(missing, "no Ray worker knows the call: its cluster was lost", suspect=False))

    async def _ask(self, name: str, worker: _Worker | None, ids: list[str]) -> list[str]:
        try:
            if worker is None:
                worker = _Worker(name, await asyncio.to_thread(ray.get_actor, name))
                worker.adopted = True
            known: list[str] = await asyncio.wait_for(worker.actor.attach.remote(self._owner, ids), ANSWER)
        except (RayError, ValueError, TimeoutError, AttributeError):
            return []
        for call in known:
            self._places[call] = worker
        worker.calls.update(known)
        if known:
            self._hear(worker)
        return known

    def cancel(self, ids: Iterable[str]) -> None:
        """Stops them wherever they are."""
        gone = set(ids)
        by_worker: dict[_Worker, list[str]] = defaultdict(list)
        for name in gone:
            worker = self._forget(name)
            if worker is not None:
                by_worker[worker].append(name)
        for worker, names in by_worker.items():
            self._spawn(_ignore(worker.actor.cancel.remote(names)))
            self._next(worker)
        self._remove(gone)

    def forget(self, ids: Iterable[str]) -> None:
        """They run on; those that have not begun never do."""
        gone = set(ids)
        for name in gone:
            self._forget(name)
        self._remove(gone)

    def _remove(self, gone: set[str]) -> None:
        self._waiting = deque(call for call in self._waiting if call.id not in gone)
        for wants, waiting in list(self._single.items()):
            self._single[wants] = deque(call for call in waiting if call.id not in gone)
            if not self._single[wants]:
                self._kill(self._asked[wants])

    def _forget(self, name: str) -> _Worker | None:
        worker = self._places.pop(name, None)
        if worker is not None:
            worker.calls.discard(name)
        return worker

    # --- what workers say ---

    def _hear(self, worker: _Worker) -> None:
        if not worker.listening:
            worker.listening = True
            self._spawn(self._listen(worker))

    async def _listen(self, worker: _Worker) -> None:
        """Takes results until the worker dies, or, in one that was adopted, until all have come."""
        loop = asyncio.get_running_loop()
        while worker.calls or not worker.adopted:
            began = loop.time()
            try:
                reply = await worker.actor.take.remote(self._owner)
            except ActorUnavailableError:
                await asyncio.sleep(PAUSE)
                await self._compare(worker)
            except RayActorError as error:
                await self._died(worker, error)
                break
            else:
                self._ended(worker, reply)
                if loop.time() - began > ASLEEP:
                    await self._compare(worker)
        worker.listening = False

    def _ended(self, worker: _Worker, reply: bytes) -> None:
        done = [one for one in read_done(reply) if self._forget(one.id) is not None]
        if done:
            worker.used = asyncio.get_running_loop().time()
            self._tell(Results(done))
            self._next(worker)

    async def _compare(self, worker: _Worker) -> None:
        """After a broken connection: what it does not know it never got."""
        ids = list(worker.calls)
        try:
            known = await asyncio.wait_for(worker.actor.attach.remote(self._owner, ids), ANSWER)
        except (RayError, TimeoutError):
            return
        missing = [name for name in ids if name not in set(known) and self._forget(name) is not None]
        if missing:
            self._tell(Gone(missing, "the call did not reach its Ray worker", suspect=False))

    async def _died(self, worker: _Worker, error: Exception) -> None:
        """May be told more than once."""
        for workers in (self._plain, *self._idle.values()):
            if worker in workers:
                workers.remove(worker)
        await self._head.answers()  # only a living head knows who is dead
        lost = [name for name in list(worker.calls) if self._forget(name) is not None]
        if lost:
            self._tell(Gone(lost, f"its Ray worker died: {_line(error)}", suspect=True))
        if worker.wants is not None:
            self._serve(worker.wants)

    # --- workers for calls with resources ---

    def _serve(self, wants: Resources) -> None:
        """Gives the waiting calls to idle workers, or asks for new ones."""
        waiting, idle, asked = self._single[wants], self._idle[wants], self._asked[wants]
        while waiting and idle:
            self._send(idle.pop(), [waiting.popleft()])
        while len(asked) < min(len(waiting), ASKED):
            worker = _Worker(f"{self._owner}-{next(self._names)}", None, wants=wants)
            asked.append(worker)
            self._spawn(self._open_single(worker, wants))

    async def _open_single(self, worker: _Worker, wants: Resources) -> None:
        options = {"num_cpus": wants.num_cpus or 0, "num_gpus": wants.num_gpus, "memory": wants.memory}
        try:
            await self._open(worker, LINGER_ALONE, options)
        except Exception as error:
            if self._single[wants]:
                log.warning("no worker with %s: %s", wants, _line(error))
            await asyncio.sleep(PAUSE)
        else:
            self._hear(worker)
            self._next(worker)
        finally:
            self._asked[wants].remove(worker)
            self._serve(wants)

    def _next(self, worker: _Worker) -> None:
        """A worker with resources that has nothing to do takes the next call, or leaves after a moment."""
        wants = worker.wants
        if wants is None or worker.calls or worker in self._idle[wants]:
            return
        self._idle[wants].append(worker)
        self._serve(wants)
        if worker in self._idle[wants]:
            asyncio.get_running_loop().call_later(IDLE, self._dismiss, wants, worker)

    def _dismiss(self, wants: Resources, worker: _Worker) -> None:
        if worker in self._idle[wants]:
            self._idle[wants].remove(worker)
            self._kill([worker])

    def _kill(self, workers: Iterable[_Worker]) -> None:
        for worker in workers:
            if worker.actor is not None:
                self._spawn(asyncio.to_thread(ray.kill, worker.actor))

    # --- the end ---

    async def stop(self) -> None:
        """Whoever had nothing to do lately goes; the others end by themselves, once nobody can ask for their calls."""
        self._stopping = True
        recently = asyncio.get_running_loop().time() - LINGER
        workers = [*self._plain, *(worker for asked in self._asked.values() for worker in asked)]
        self._kill(worker for worker in workers if worker.used is None or worker.used < recently)
        await asyncio.wait(list(self._tasks), timeout=PAUSE)

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._head.fail(task.exception())


def _line(error: Exception) -> str:
    """Ray's reports have many lines."""
    return " ".join(str(error).split())[:500]


async def _ignore(reference: Any) -> None:
    """For what needs no answer: whether the worker lives, `_listen` hears."""
    try:
        await reference
    except RayError:
        return
