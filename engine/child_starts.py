"""Finds what a task wants to start: the version of a workflow, and an id for its execution.

It happens between the result of the attempt and the step that takes it in, because a run never waits. What cannot be
found is a failure of the attempt; while the database is away, the attempt lasts.
"""

import asyncio
from collections.abc import Callable

import structlog

from engine.children import Opening
from engine.drafts import Drafts
from engine.errors import Invalid, NotFound, StoreUnavailable, TaskError
from engine.ids import ExecutionIds
from engine.library import Library
from engine.model import DEFAULT_NAMESPACE, Failed, Failure, StartChild, TaskCall
from engine.outcomes import plain_start
from engine.ports import Store

RETRY = 0.2
"""Seconds between tries while the database is away."""

log = structlog.get_logger(__name__)

Found = Callable[[TaskCall, Opening | Failed, float], None]
"""Takes what became of a call, as a report of an executor."""


class ChildStarts:
    """For all executions of this engine."""

    def __init__(self, store: Store, library: Library, drafts: Drafts) -> None:
        self._store = store
        self._library = library
        self._drafts = drafts
        self._ids = ExecutionIds(store)
        self._looking: set[asyncio.Task[None]] = set()

    def find(self, call: TaskCall, wanted: StartChild, elapsed: float, found: Found) -> None:
        """Calls `found` when the child can be started, or cannot."""
        task = asyncio.create_task(self._find(call, wanted, elapsed, found), name="child-start")
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def stop(self) -> None:
        """Nothing is found afterwards."""
        looking = list(self._looking)
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)

    async def _find(self, call: TaskCall, wanted: StartChild, elapsed: float, found: Found) -> None:
        try:
            answer: Opening | Failed = await self._insist(plain_start(wanted))
        except TaskError as error:
            answer = _failed(call, error.type, error.message)
        except (NotFound, Invalid) as error:
            answer = _failed(call, error.code, error.message)
        except Exception as error:
            log.exception("a child execution cannot be prepared", execution=call.execution_id, task=call.task)
            answer = _failed(call, type(error).__name__, str(error))
        found(call, answer, elapsed)

    async def _insist(self, wanted: StartChild) -> Opening:
        while True:
            try:
                return await self._open(wanted)
            except StoreUnavailable as error:
                log.warning("the database does not answer; a child execution waits", error=str(error))
                await asyncio.sleep(RETRY)

    async def _open(self, wanted: StartChild) -> Opening:
        """Raises `WorkflowNotFound`, `VersionNotFound`, `InvalidWorkflow`."""
        if wanted.version is None:
            workflow_id, entry = await self._drafts.current(wanted.workflow)
        else:
            version = await self._store.get_version(DEFAULT_NAMESPACE, wanted.workflow, wanted.version)
            workflow_id, entry = version.workflow_id, self._library.keep(version)
        number = await self._ids.next()
        return Opening(number, workflow_id, entry.version.id, wanted.input, wanted.wait, wanted.labels)


def _failed(call: TaskCall, kind: str, message: str) -> Failed:
    return Failed(Failure(kind, message, call.task), retryable=False)
