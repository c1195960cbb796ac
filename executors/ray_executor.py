"""Runs calls on a Ray cluster: one of our own on this machine, or the one at `ray_address`.

A process of its own speaks to Ray (`executors/_ray_bridge.py`). When it ends, because the head is gone or for any
other reason, calls wait until another has reached the cluster; those that no worker knows any more are lost.
"""

import asyncio
import os
import pickle
import re
import socket
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, assert_never

import msgspec
import structlog

from engine.errors import ConfigurationError, Unavailable
from engine.model import Lost, Resources, Result, TaskCall
from engine.task_ports import ExecutorOptions, Report
from executors import _ray_wire as wire
from executors._ray_wire import Sent, Setup, call_id

ROOT = Path(__file__).resolve().parent.parent
FRAME = 8 * 2**20
"""Bytes of calls in one message."""
STOP = 10.0
"""Seconds that a bridge has to end."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two tries to reach a cluster that was lost; doubled each time."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_DEDUP_LOGS": "0"}
_OF_THIS_MACHINE = re.compile(
    r"RAY_|PYTHON|LD_|LC_|XDG_|SSH_|(DATABASE_URL|PATH|HOME|PWD|OLDPWD|USER|LOGNAME|HOSTNAME|SHELL|SHLVL|TERM|TMPDIR|_)$"
)
"""Variables that mean nothing on another machine, and where state lives: a worker has no business there."""

log = structlog.get_logger(__name__)
_read_result = msgspec.json.Decoder(Result).decode
_json = msgspec.json.Encoder().encode


class RayExecutor:
    """On a cluster, where calls go on when their engine ends."""

    name: ClassVar[str] = "ray"
    outlives: ClassVar[bool] = True

    def __init__(self, options: ExecutorOptions) -> None:
        self._setup = Setup(
            options.ray_address,
            f"millrace-{options.installation}",
            pickle.dumps(options.open_host),
            options.threads,
            {name: value for name, value in os.environ.items() if not _OF_THIS_MACHINE.match(name)},
        )
        self._flying: dict[str, TaskCall] = {}
        self._unsent: dict[str, Sent] = {}
        """Calls that came while no bridge was there."""
        self._unstopped: list[str] = []
        """Calls that were cancelled meanwhile."""
        self._bridge: _Bridge | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, report: Report) -> None:
        self._report = report
        self._bridge = bridge = await _Bridge.open(self._setup)
        self._serving = asyncio.create_task(self._serve(bridge), name="ray")

    async def stop(self) -> None:
        self._flying.clear()
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])
        if self._bridge is not None:
            await self._bridge.close()
            self._bridge = None

    def attach(self, calls: Sequence[TaskCall]) -> Sequence[TaskCall]:
        ids = [call_id(call) for call in calls]
        self._flying.update(zip(ids, calls, strict=True))
        if ids and self._bridge is not None:
            self._bridge.send(wire.Attach(ids))
        return calls

    def submit(self, calls: Sequence[TaskCall]) -> None:
        sent: list[Sent] = []
        for call in calls:
            name = call_id(call)
            self._flying[name] = call
            resources = None if call.resources == Resources() else call.resources
            sent.append(Sent(name, _json(call), resources))
        if self._bridge is not None:
            self._bridge.submit(sent)
        else:
            self._unsent.update((one.id, one) for one in sent)

    def cancel(self, calls: Sequence[TaskCall]) -> None:
        ids = [name for name in self._drop(calls) if self._unsent.pop(name, None) is None]
        if self._bridge is None:
            self._unstopped += ids
        elif ids:
            self._bridge.send(wire.Cancel(ids))

    def detach(self, calls: Sequence[TaskCall]) -> None:
        ids = [name for name in self._drop(calls) if self._unsent.pop(name, None) is None]
        if ids and self._bridge is not None:
            self._bridge.send(wire.Forget(ids))

    def _drop(self, calls: Iterable[TaskCall]) -> Iterable[str]:
        for call in calls:
            name = call_id(call)
            if self._flying.get(name) is call:
                del self._flying[name]
                yield name

    # --- the bridge, and the next one ---

    async def _serve(self, bridge: "_Bridge") -> None:
        while True:
            try:
                await self._listen(bridge)
            except Exception:
                log.exception("what the bridge to Ray says cannot be understood")
            self._bridge = None
            await bridge.close()
            log.warning("the connection to Ray is lost", calls=len(self._flying))
            bridge = await self._reach()
            log.info("connected to Ray again", calls=len(self._flying))
            self._bridge = bridge
            self._catch_up(bridge)

    def _catch_up(self, bridge: "_Bridge") -> None:
        unsent, self._unsent = self._unsent, {}
        unstopped, self._unstopped = self._unstopped, []
        begun = [name for name in self._flying if name not in unsent]
        if begun or unstopped:
            bridge.send(wire.Attach([*begun, *unstopped]))
        if unstopped:
            bridge.send(wire.Cancel(unstopped))
        if unsent:
            bridge.submit(unsent.values())

    async def _reach(self) -> "_Bridge":
        pause = FIRST_PAUSE
        while True:
            try:
                return await _Bridge.open(self._setup)
            except (ConfigurationError, Unavailable) as error:
                log.warning("Ray cannot be reached; trying again", seconds=pause, reason=error.message)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _listen(self, bridge: "_Bridge") -> None:
        """Reports what it says until it ends."""
        while (message := await bridge.hear()) is not None:
            match message:
                case wire.Results(done):
                    for one in done:
                        self._tell(one.id, _read_result(one.payload), one.elapsed)
                case wire.Gone(ids, reason, suspect):
                    for name in ids:
                        self._tell(name, Lost(reason, suspect, shared=suspect), 0.0)
                case wire.Ready() | wire.Refused():
                    raise AssertionError(f"a bridge that is open says {message}")
                case _:
                    assert_never(message)

    def _tell(self, name: str, result: Result, elapsed: float) -> None:
        call = self._flying.pop(name, None)
        if call is not None:
            self._report(call, result, elapsed)


class OwnRay(RayExecutor):
    """On a Ray that this engine starts, and that ends with it."""

    outlives: ClassVar[bool] = False

    def detach(self, calls: Sequence[TaskCall]) -> None:
        self.cancel(calls)


class _Bridge:
    """The process that speaks to Ray, and our end of the socket pair."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, setup: Setup) -> "_Bridge":
        """Returns when calls can be sent. Raises `ConfigurationError` or `Unavailable` with the cure."""
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "executors._ray_bridge", str(theirs.fileno())]
            environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
            path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**_authentication(), **environment, **QUIET, "PYTHONPATH": path},
                start_new_session=True,
            )
        bridge = cls(process, *await asyncio.open_unix_connection(sock=ours))
        try:
            bridge.send(setup)
            await bridge._begin()
        except BaseException:
            await bridge.close()
            raise
        return bridge

    async def _begin(self) -> None:
        match await self.hear():
            case wire.Ready():
                return
            case wire.Refused(message, lasting):
                raise ConfigurationError(message) if lasting else Unavailable(message)
            case _:
                raise Unavailable("the process that speaks to Ray ended; see what it wrote on standard error")

    def send(self, message: wire.ToBridge) -> None:
        self._writer.write(wire.frame(message))

    def submit(self, calls: Iterable[Sent]) -> None:
        for batch in wire.batches(calls, FRAME):
            self.send(wire.Submit(batch))

    async def hear(self) -> wire.FromBridge | None:
        """None when it is gone."""
        body = await wire.read_frame(self._reader)
        return None if body is None else wire.read_from_bridge(body)

    async def close(self) -> None:
        """It ends by itself when it hears nothing more."""
        with suppress(OSError):
            self.send(wire.Stop())
            self._writer.close()
            await self._writer.wait_closed()
        try:
            async with asyncio.timeout(STOP):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _authentication() -> dict[str, str]:
    """Who has a token shows it: a head asks for one by default, a driver would not say it by itself."""
    has_one = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    return {"RAY_AUTH_MODE": "token"} if has_one or (Path.home() / ".ray" / "auth_token").exists() else {}


def open_executor(options: ExecutorOptions) -> RayExecutor:
    """Where `ray_address` says."""
    return OwnRay(options) if options.ray_address is None else RayExecutor(options)
