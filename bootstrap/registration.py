"""The files of a folder become workflows: at start, and when they change if that is wished.

Each is created or updated by its key. A file that cannot be is told in the log and in the health of the process, and
stops nothing else.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog

from engine import limits
from engine.errors import KeyTaken, MillraceError, Unavailable
from engine.service import WorkflowService
from engine.sources import Source

SUFFIXES = (".json", ".yaml", ".yml")
LOOK = 1.0
"""Seconds between looks for changed files."""


class Registration:
    """`problems` are the files that were refused, by name, each with the reason."""

    def __init__(self, service: WorkflowService, folder: Path) -> None:
        self._service = service
        self._folder = folder
        self._seen: dict[Path, tuple[int, int]] = {}
        self._keys: dict[str, Path] = {}
        self.problems: dict[str, str] = {}
        self._log = structlog.get_logger("workflows")

    async def look(self) -> None:
        """Registers every file that is new or has changed since the last look; forgets what is gone."""
        found = await asyncio.to_thread(_files, self._folder)
        for path in self._seen.keys() - found.keys():
            del self._seen[path]
            self._forget(path)
        for path, stamp in found.items():
            if self._seen.get(path) != stamp:
                self._seen[path] = stamp
                await self._register(path)

    async def round(self) -> None:
        """A duty of a caretaker."""
        await asyncio.sleep(LOOK)
        await self.look()

    def health(self) -> str:
        """`ok`, or which files were refused and why."""
        if not self.problems:
            return "ok"
        return "; ".join(f"{name}: {reason}" for name, reason in sorted(self.problems.items()))

    def _forget(self, path: Path) -> None:
        self.problems.pop(path.name, None)
        self._keys = {key: other for key, other in self._keys.items() if other != path}

    async def _register(self, path: Path) -> None:
        self._forget(path)
        try:
            source = await asyncio.to_thread(_read, path)
            key = await self._service.key_of_document(source, path.stem)
            if (other := self._keys.get(key)) is not None:
                raise KeyTaken(f"{other.name} has the same key {key!r}; give one of them another `key`")
            try:
                workflow, outcome = await self._service.register_document(source, key)
            except KeyTaken:  # by a process that starts at the same moment and reads the same folder
                workflow, outcome = await self._service.register_document(source, key)
            self._keys[key] = path
        except (MillraceError, OSError) as error:
            reason = _reason(error)
            self.problems[path.name] = reason
            self._log.warning("workflow file refused", file=str(path), reason=reason)
            if isinstance(error, Unavailable):
                self._seen.pop(path, None)
            return
        self._log.info(f"workflow {outcome}", file=str(path), workflow=workflow.id, key=workflow.key)


def _files(folder: Path) -> Mapping[Path, tuple[int, int]]:
    """The files with their time and size, by name."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix in SUFFIXES and path.is_file():
            state = path.stat()
            found[path] = (state.st_mtime_ns, state.st_size)
    return found


def _read(path: Path) -> Source:
    with path.open("rb") as file:
        data = file.read(limits.DOCUMENT + 1)
    return Source(data, strict_json=path.suffix == ".json")


def _reason(error: Exception) -> str:
    """One line, with the line in the file if there is one."""
    if not isinstance(error, MillraceError):
        return f"cannot be read: {error}"
    line = next((fault.line for fault in error.faults if fault.line is not None), None)
    return error.message if line is None or f"line {line}" in error.message else f"line {line}: {error.message}"
