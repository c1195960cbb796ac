"""Settings to a running service: the only place that picks plug-ins and joins the rooms."""

import asyncio
import gc
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from bootstrap import tasks
from bootstrap.registration import Registration
from bootstrap.settings import Settings
from bootstrap.vault import open_vault
from engine import registry
from engine.action_book import ActionBook
from engine.cache_port import ResponseCache
from engine.caretakers.claims import claims
from engine.caretakers.inbox import Inbox
from engine.caretakers.lag import LoopLag
from engine.caretakers.loop import Duty, repeat
from engine.caretakers.pools import PoolWatch
from engine.caretakers.reception import Receptionist
from engine.caretakers.relay import Relay
from engine.caretakers.renewal import renewal
from engine.caretakers.sharing import sharing
from engine.caretakers.sweep import sweep
from engine.catalog import Catalog
from engine.child_starts import ChildStarts
from engine.drafts import Drafts
from engine.dry_run import DryRuns
from engine.errors import ConfigurationError
from engine.keeper import Keeper
from engine.library import Library
from engine.ports import Store
from engine.progress import Progress
from engine.sealing import SealingExecutor
from engine.service import WorkflowService
from engine.task_ports import Executor, ExecutorOptions, Host
from engine.trials import Trials
from engine.views import Views
from engine.worker import Terms, Worker

COLLECT = (10_000, 20, 20)
"""New containers before the collector looks at them; the default of 700 is a hundred tasks, and took a tenth of all."""
SWITCH_SECONDS = 0.0005
"""How long a busy loop may keep the interpreter from the thread that writes to SQLite; a tenth of Python's default."""


@asynccontextmanager
async def open_service(settings: Settings, *, engine: bool) -> AsyncIterator[WorkflowService]:
    """The service over its store and cache; with `engine`, executions run in this process until the block ends."""
    async with AsyncExitStack() as stack:
        store = _open_store(settings, engine)
        await store.open()
        stack.push_async_callback(store.close)
        if not store.shared:
            sys.setswitchinterval(SWITCH_SECONDS)
        cache = await stack.enter_async_context(_cache(settings, store))
        nodes = tasks.catalog(settings)
        library, progress, lag = Library(store), Progress(), LoopLag()
        drafts = Drafts(store, library, tasks.authoring(nodes), cache)
        host = await stack.enter_async_context(tasks.host(settings, nodes))
        keeper = Keeper(store, open_vault(settings.secret_keys.get_secret_value()))
        openers = _executors(settings, nodes, host, keeper)
        worker = await _open_worker(settings, store, library, progress, openers) if engine else None
        if worker is not None:
            worker.child_starts = ChildStarts(store, library, drafts)
        inbox = Inbox(worker) if worker is not None else None
        pools = PoolWatch(worker) if worker is not None else None
        service = WorkflowService(
            store,
            drafts,
            Views(store, library),
            progress,
            cache=cache,
            worker=worker,
            lag=lag,
            tell_inbox=inbox.tell if inbox is not None else _nobody,
            trials=Trials(nodes, host, keeper),
            secrets=keeper,
            hold=settings.lease_seconds,
            actions=ActionBook(store, nodes, drafts.forget),
            dry_runs=DryRuns(drafts, nodes, keeper),
        )
        store.listen(partial(_wake, worker, inbox, pools, progress))
        duties: dict[str, Duty] = {"lag": lag.round}
        if worker is not None and inbox is not None and pools is not None:
            duties |= _engine_duties(worker, inbox, pools, service)
            if _publishes(settings, store):
                relay = _relay(settings, store, progress)
                stack.push_async_callback(relay.stop)
                duties["relay"] = relay.round
        files = Registration(service, Path(settings.workflows_dir))
        service.notes["workflows"] = files.health
        if settings.workflows_reload:
            duties["workflows"] = files.round
        await stack.enter_async_context(_caretakers(duties))
        if worker is not None:
            stack.push_async_callback(worker.stop)  # before the caretakers: its lease is renewed until its last append
        await files.look()
        _settle_memory()
        yield service


def _engine_duties(worker: Worker, inbox: Inbox, pools: PoolWatch, service: WorkflowService) -> dict[str, Duty]:
    """What an engine's caretakers do."""
    service.reception.left = worker.outside.set
    duties: dict[str, Duty] = {
        "claims": partial(claims, worker),
        "renewal": partial(renewal, worker),
        "sweep": partial(sweep, worker),
        "inbox": inbox.round,
        "pools": pools.round,
        "reception": Receptionist(service.reception, worker.outside).round,
    }
    return duties | {"sharing": partial(sharing, worker)} if worker.store.shared else duties


def _settle_memory() -> None:
    """What is loaded by now stays: the collector need not walk it again, nor look after every few tasks."""
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT)


def _open_store(settings: Settings, engine: bool) -> Store:
    scheme = settings.database_url.partition(":")[0].partition("+")[0]
    module = {"postgres": "postgresql"}.get(scheme, scheme)
    store: Store = registry.load("storage", module, "open_store")(settings.database_url, engine=engine)
    return store


@asynccontextmanager
async def _cache(settings: Settings, store: Store) -> AsyncIterator[ResponseCache | None]:
    """Redis when there is one; in process only when no other process can write."""
    cache: ResponseCache | None = None
    if settings.cache != "off" and settings.redis_url:
        cache = registry.load("cache", "redis_cache", "open_cache")(settings.redis_url, await store.identity())
    elif settings.cache != "off" and not store.shared:
        cache = registry.load("cache", "memory", "open_cache")()
    if cache is None:
        yield None
        return
    await cache.start()
    try:
        yield cache
    finally:
        await cache.stop()


def _publishes(settings: Settings, store: Store) -> bool:
    """Raises `ConfigurationError` if events are to be published and there is nowhere to publish them to."""
    if settings.publish == "on" and not settings.redis_url:
        raise ConfigurationError("PUBLISH=on needs a Redis; set REDIS_URL, or PUBLISH=off")
    return settings.publish == "on" or (settings.publish == "auto" and bool(settings.redis_url) and store.shared)


def _relay(settings: Settings, store: Store, progress: Progress) -> Relay:
    publisher = registry.load("publish", "redis_streams", "open_publisher")(
        settings.redis_url,
        stream=settings.publish_stream,
        shards=settings.publish_shards,
        max_length=settings.publish_max_length,
        per_workflow=settings.publish_per_workflow,
    )
    return Relay(store, publisher, progress, holder=f"{_holder()} relay", ttl=settings.lease_seconds)


def _holder() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _executors(settings: Settings, nodes: Catalog, host: Host, keeper: Keeper) -> dict[str, Callable[[], Executor]]:
    options = ExecutorOptions(
        host,
        tasks.open_host,
        settings.blocking_threads,
        settings.redis_url,
        settings.ray_address,
        settings.installation,
    )
    return {name: partial(_open_executor, name, options, keeper) for name in nodes.executors()}


def _open_executor(name: str, options: ExecutorOptions, keeper: Keeper) -> Executor:
    executor: Executor = registry.load("executors", f"{name}_executor", "open_executor")(options)
    return SealingExecutor(executor, keeper)


async def _open_worker(
    settings: Settings,
    store: Store,
    library: Library,
    progress: Progress,
    executors: Mapping[str, Callable[[], Executor]],
) -> Worker:
    worker = Worker(
        store,
        library,
        executors,
        settings.executor,
        progress,
        Terms(
            _holder(),
            settings.lease_seconds,
            settings.max_concurrent_tasks,
            settings.stop_seconds,
        ),
    )
    await worker.start()
    return worker


@asynccontextmanager
async def _caretakers(duties: dict[str, Duty]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(repeat(name, duty), name=f"caretaker-{name}") for name, duty in duties.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _wake(
    worker: Worker | None,
    inbox: Inbox | None,
    pools: PoolWatch | None,
    progress: Progress,
    topic: str,
    executions: tuple[int, ...],
) -> None:
    """Another process says that something happened."""
    match topic:
        case "claim" if worker is not None:
            worker.wake_claims.set()
        case "signal" if inbox is not None:
            inbox.tell(executions)
        case "slot" if pools is not None:
            pools.tell(executions)
        case "crowded" if worker is not None and worker.free_slots:
            worker.store.notify("hungry", (worker.free_slots,))
        case "hungry" if worker is not None:
            worker.share(max(executions, default=0))
        case "progress":
            progress.perhaps(executions)
        case _:
            pass


def _nobody(executions: tuple[int, ...]) -> None:
    """This process has no inbox."""
