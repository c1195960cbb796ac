"""A caller who does not give up: over REST and gRPC, on whichever process answers, with one key per request."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import grpc
import msgspec

from proto.workflow.v1 import workflow_pb2 as pb
from proto.workflow.v1.workflow_pb2_grpc import WorkflowServiceStub
from tests.chaos.world import Engine

T = TypeVar("T")
CALL = 3.0
"""Seconds that one call may take before another door is asked."""
PAUSE = 0.05
OPEN = ("pending", "running", "waiting", "paused", "compensating")
QUICK = (("grpc.min_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200), ("grpc.enable_http_proxy", 0))
AGAIN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
)
"""Nobody here cancels a call: gRPC's core answers so for calls that had come and not begun when a server stops."""


class Gone(Exception):
    """Nobody answered in time."""


class Answered(Exception):
    """A final answer that is no success: `status` is the HTTP status or the name of the gRPC status."""

    def __init__(self, status: int | str, text: str) -> None:
        super().__init__(f"{status}: {text[:300]}")
        self.status = status


class Client:
    """`ugly` counts answers that no caller should ever see: 5xx other than 503, and their gRPC relatives."""

    def __init__(self, engines: Sequence[Engine], *, seed: int = 0, patience: float = 30.0, call: float = CALL) -> None:
        self.ugly: Counter[str] = Counter()
        self.seen: set[str] = set()
        """What the doors said when they asked for another try."""
        self._engines = list(engines)
        self._random = random.Random(seed)
        self._patience = patience
        self._call = call
        self._first = 0
        self._channels = [grpc.aio.insecure_channel(engine.grpc, options=QUICK) for engine in engines]
        self._stubs: list[Any] = [WorkflowServiceStub(channel) for channel in self._channels]

    async def __aenter__(self) -> Self:
        limit = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=limit, timeout=aiohttp.ClientTimeout(self._call))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._session.close()
        for channel in self._channels:
            await channel.close()

    # --- use cases ---

    async def define(self, name: str, tasks: Sequence[dict[str, Any]], **fields: Any) -> int:
        """A workflow of these tasks; its id."""
        workflow = await self.rest("POST", "/workflows/", {"name": name, **fields})
        for order, task in enumerate(tasks, 1):
            row = {"name": task["key"], "order": order, **task}
            await self.rest("POST", f"/workflows/{workflow['id']}/tasks/", row)
        return int(workflow["id"])

    async def start(self, workflow: int, value: dict[str, Any], key: str) -> int:
        """Durable on return: the execution that `key` stands for. Over REST or gRPC, as the dice fall."""
        if self._random.random() < 0.5:
            request = pb.ExecuteWorkflowRequest(
                workflow_id=workflow, input_json=msgspec.json.encode(value).decode(), idempotency_key=key
            )
            return int((await self.grpc("ExecuteWorkflow", request)).execution_id)
        body = {"input": value}
        headers = {"Idempotency-Key": key}
        return int((await self.rest("POST", f"/workflows/{workflow}/execute", body, headers))["execution_id"])

    async def signal(self, execution: int, name: str, dedupe_key: str) -> bool:
        """Whether it was taken: False when the execution had already ended."""
        request = pb.SignalExecutionRequest(execution_id=execution, name=name, dedupe_key=dedupe_key)
        try:
            await self.grpc("SignalExecution", request)
        except Answered as answer:
            if answer.status == "FAILED_PRECONDITION":
                return False
            raise
        return True

    async def cancel(self, execution: int) -> str:
        """`cancelled`, `cancel_requested`, or `ended` when it came too late."""
        try:
            answer = await self.grpc("CancelExecution", pb.CancelExecutionRequest(execution_id=execution))
        except Answered as error:
            if error.status == "FAILED_PRECONDITION":
                return "ended"
            raise
        return str(answer.status)

    async def open_executions(self) -> set[int]:
        """Those that have not ended, at most a thousand."""
        page = await self.grpc("ListExecutions", pb.ListExecutionsRequest(statuses=OPEN, page_size=1000))
        return {execution.execution_id for execution in page.executions}

    async def all_ended(self, seconds: float) -> set[int]:
        """Waits until every execution has ended; those that have not in time."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            left = await self.open_executions()
            if not left or asyncio.get_running_loop().time() > deadline:
                return left
            await asyncio.sleep(0.1)

    # --- calls ---

    async def rest(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """The JSON of a 2xx answer, from the first process that gives one. Raises `Answered`, `Gone`."""
        return await self._insist(lambda door: self.rest_once(door, method, path, body, headers), f"{method} {path}")

    async def grpc(self, method: str, request: Any) -> Any:
        """The answer, from the first process that gives one. Raises `Answered`, `Gone`."""
        return await self._insist(lambda door: self.grpc_once(door, method, request), method)

    async def rest_once(
        self, door: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        """One try. Raises `Answered` or `ConnectionError`, the latter when it is worth another try."""
        url = self._engines[door].rest + path
        try:
            async with self._session.request(method, url, json=body, headers=headers) as response:
                content = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionError(repr(error)) from error
        text = content.decode(errors="replace")
        if response.status in (429, 503):
            self.seen.add(text[:300])
            raise ConnectionError(text)
        if response.status >= 500:
            self.ugly[f"REST {method} {response.status} {text[:200]}"] += 1
            raise ConnectionError(text)
        if response.status >= 400:
            raise Answered(response.status, text)
        return msgspec.json.decode(content) if content else None

    async def grpc_once(self, door: int, method: str, request: Any) -> Any:
        """One try. Raises `Answered` or `ConnectionError`, the latter when it is worth another try."""
        try:
            return await getattr(self._stubs[door], method)(request, timeout=self._call)
        except grpc.aio.AioRpcError as error:
            code = error.code()
            if code in AGAIN:
                raise ConnectionError(str(error.details())) from error
            if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.ABORTED):
                self.ugly[f"gRPC {method} {code.name} {str(error.details())[:200]}"] += 1
                raise ConnectionError(str(error.details())) from error
            raise Answered(code.name, str(error.details())) from error

    async def _insist(self, call: Callable[[int], Awaitable[T]], what: str) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        why = ""
        while loop.time() < deadline:
            door = self._first
            try:
                return await call(door)
            except ConnectionError as error:
                why = str(error)
            if door == self._first:
                self._first = (door + 1) % len(self._engines)
            await asyncio.sleep(PAUSE)
        raise Gone(f"{what}: no answer in {self._patience:g} s: {why[:300]}")
