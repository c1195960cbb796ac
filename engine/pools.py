"""Slots of pools: so many tasks of a workflow, or of a concurrency key, run at once, over all executions and engines.

`Tickets` is what one execution in memory holds and waits for; `Pools` asks the store for all of them together. A task
is scheduled, stands in line once that is durable, and takes a slot of its engine when it holds those of its pools. They
are given back by the very commit that ends its attempt, so whatever dies, no slot is lost and none is given back early.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog

from engine import events as ev
from engine import limits
from engine.errors import LeaseLost, StoreUnavailable
from engine.fans import scope_of
from engine.ports import JournalStore, PoolSlot, SlotGrant, SlotPool
from engine.state import State
from engine.states import SlotStage

MAX_ASKS = 512
"""Tasks put in line by one transaction."""
LAST = 2.0
"""Seconds for the last transaction when the engine stops."""
RETRY = 0.2
"""Seconds between tries while the database is away."""
PATIENCE = 2
"""Polls that an execution stands in line before it leaves memory."""

log = structlog.get_logger(__name__)


class Tickets:
    """What the tasks of one execution hold of the pools, and wait for."""

    __slots__ = ("_asks", "_freed", "_gone", "_left", "_loaded", "_places", "_polls", "held", "line", "workflow_id")

    def __init__(self, workflow_id: int, *, loaded: bool) -> None:
        self.workflow_id = workflow_id
        self.held: set[str] = set()
        """Tasks that hold all their slots."""
        self.line: set[str] = set()
        """Tasks of which the store has said that they wait."""
        self._places: dict[str, PoolSlot] = {}
        self._asks: list[PoolSlot] = []
        self._freed: list[str] = []
        self._gone: dict[str, SlotPool] = {}
        """Places given up before the store had said anything of them: it may put them in line yet."""
        self._left: list[SlotPool] = []
        self._loaded = loaded
        self._polls = 0

    # --- what a run says ---

    def admits(self, key: str, state: State) -> bool:
        """Whether the task may start; else it stands in line. Raises `TaskError` when its key cannot be rendered."""
        if not state.graph.by_key[key].limited or key in self.held:
            return True
        if key not in self._places:
            self._ask(key, state, SlotStage.KEY)
        return False

    def runs(self, key: str, state: State) -> None:
        """An attempt that goes on under this owner: it holds its slots, whether there is room or not."""
        if state.graph.by_key[key].limited and key not in self.held:
            self._ask(key, state, SlotStage.HELD)
            self.held.add(key)

    def note(self, event: ev.Event) -> None:
        """An event that ends an attempt, or the wait for one, gives its slots back with its commit."""
        match event:
            case (
                ev.TaskCompleted(task=task)
                | ev.TaskFailed(task=task)
                | ev.TaskSleeping(task=task)
                | ev.TaskAwaiting(task=task)
                | ev.TaskFannedOut(task=task)
                | ev.ChildStarted(task=task)
                | ev.TaskCancelled(task=task)
            ) if task in self._places:
                pool = self._places.pop(task).pool
                if task not in self.held and task not in self.line:
                    self._gone[task] = pool
                self._leave(task, pool)
                self.held.discard(task)
                self.line.discard(task)
            case _:
                pass

    def take_freed(self) -> tuple[str, ...]:
        """What the next append is to give back."""
        freed, self._freed = self._freed, []
        return tuple(freed)

    @property
    def owes(self) -> bool:
        """Whether it has something to give back that no event told of."""
        return bool(self._freed)

    def may_park(self, busy: int) -> bool:
        """Whether all its `busy` tasks have stood in line for long."""
        return self._polls >= PATIENCE and busy == len(self.line)

    # --- what the store says ---

    def load(self, slots: Iterable[PoolSlot], active: Container[str]) -> None:
        """What its former owner has left. Grants that came earlier count; who is not `active` has ended meanwhile."""
        self._loaded = True
        for slot in slots:
            if slot.task not in active:
                self._leave(slot.task, slot.pool)
                continue
            self._places[slot.task] = slot
            if slot.stage is SlotStage.HELD:
                self.held.add(slot.task)
        self.line = self._places.keys() - self.held

    def admit(self, task: str) -> bool:
        """The store has given it its slots. False: not news, or nobody waits for them any more."""
        if not self._loaded:
            self.held.add(task)
            return False
        if task in self.held or task not in self._places:
            return False
        self.held.add(task)
        self.line.discard(task)
        return True

    def waits(self, task: str) -> None:
        """The store has put it in line, or given it its slots; who has ended before that gives them back."""
        if task in self._gone:
            self._leave(task, self._gone.pop(task))
        elif task in self._places and task not in self.held:
            self.line.add(task)

    def polled(self) -> bool:
        """At every poll: whether it has stood in line for long, or has something to say."""
        self._polls += 1
        return self._polls >= PATIENCE or self.owes

    def take_news(self) -> tuple[list[PoolSlot], list[SlotPool]]:
        """Once durable: what is asked for, and the pools where something was given back."""
        asks, left = [ask for ask in self._asks if ask.task in self._places], self._left
        self._asks, self._left = [], []
        return asks, left

    def _leave(self, task: str, pool: SlotPool) -> None:
        self._freed.append(task)
        self._left.append(pool)

    def _ask(self, key: str, state: State, stage: SlotStage) -> None:
        vertex = state.graph.by_key[key]
        shared = vertex.concurrency_key
        place = PoolSlot(
            state.execution_id,
            key,
            self.workflow_id,
            None if shared is None else _text(shared.render(scope_of(state, key))),
            vertex.task.concurrency_limit,
            state.graph.max_concurrency,
            stage,
        )
        self._places[key] = place
        self._asks.append(place)
        self._polls = 0


def _text(value: Any) -> str:
    """A key as its pool is called: equal values, equal names, of a length that any database can hold."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(text) <= limits.NAME and "\0" not in text:
        return text
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class _Ask(NamedTuple):
    tickets: Tickets
    slot: PoolSlot


class Pools:
    """One transaction at a time for all executions of this engine; who comes meanwhile shares the next one."""

    def __init__(
        self, store: JournalStore, granted: Callable[[Sequence[SlotGrant]], None], lost: Callable[[], None]
    ) -> None:
        self._store = store
        self._granted = granted
        self._lost = lost
        self._lease = 0
        self._asks: deque[_Ask] = deque()
        self._left: dict[SlotPool, None] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self, lease: int) -> None:
        """Asks under `lease` from now on; what was asked before is forgotten."""
        self._lease = lease
        self._asks.clear()
        self._left.clear()

    async def stop(self) -> None:
        """Says what the last commits have given back, if the database is there: others wait for it."""
        task = self._task
        if task is not None:
            await asyncio.wait([task], timeout=LAST)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def follow(self, tickets: Tickets) -> None:
        """What a durable step of this execution asks for and has given back."""
        asks, left = tickets.take_news()
        self._asks.extend(_Ask(tickets, slot) for slot in asks)
        self._left.update(dict.fromkeys(left))
        if (asks or left) and self._task is None:
            self._task = asyncio.create_task(self._drain(), name="pools")

    async def _drain(self) -> None:
        try:
            while self._asks or self._left:
                asks = [self._asks.popleft() for _ in range(min(len(self._asks), MAX_ASKS))]
                left, self._left = list(self._left), {}
                await self._share(self._lease, asks, left)
        finally:
            self._task = None

    async def _share(self, lease: int, asks: Sequence[_Ask], left: Sequence[SlotPool]) -> None:
        try:
            grants = await self._insist(lease, [ask.slot for ask in asks], left)
        except LeaseLost:
            if lease == self._lease:
                self._lost()
        except Exception:
            if len(asks) <= 1:
                log.exception("slots cannot be asked for; the next poll goes on", asks=asks, pools=left)
                return
            middle = len(asks) // 2
            await self._share(lease, asks[:middle], left)
            await self._share(lease, asks[middle:], ())
        else:
            if lease == self._lease:
                self._granted(grants)
                for tickets, slot in asks:
                    tickets.waits(slot.task)

    async def _insist(self, lease: int, asks: Sequence[PoolSlot], left: Sequence[SlotPool]) -> list[SlotGrant]:
        while True:
            try:
                return await self._store.share_slots(lease, asks, left)
            except StoreUnavailable as error:
                log.warning("the database does not answer; tasks go on waiting for slots", error=str(error))
                await asyncio.sleep(RETRY)
