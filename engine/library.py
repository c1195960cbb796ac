"""Compiled versions, kept by id: an execution pins one, and they never change."""

from collections import OrderedDict
from collections.abc import Sequence

from engine.graph import CompiledGraph, load
from engine.model import WorkflowVersion
from engine.ports import DraftStore

KEPT = 1000


class Entry:
    """A version and its compiled graph."""

    __slots__ = ("graph", "version")

    def __init__(self, version: WorkflowVersion) -> None:
        self.version = version
        self.graph: CompiledGraph = load(version.graph, version.presentation)


class Library:
    """Least recently used versions in memory."""

    def __init__(self, store: DraftStore) -> None:
        self._store = store
        self._entries: OrderedDict[int, Entry] = OrderedDict()

    def keep(self, version: WorkflowVersion) -> Entry:
        """The entry of `version`; a changed presentation (names) replaces the old one."""
        entry = self._entries.get(version.id)
        if entry is None or entry.version.presentation != version.presentation:
            entry = self._entries[version.id] = Entry(version)
        self._entries.move_to_end(version.id)
        while len(self._entries) > KEPT:
            self._entries.popitem(last=False)
        return entry

    async def get(self, ids: Sequence[int]) -> dict[int, Entry]:
        """Entries by version id, read from the store when they are not here."""
        found = {i: self._entries[i] for i in ids if i in self._entries}
        missing = [i for i in ids if i not in found]
        if missing:
            versions = await self._store.get_versions(missing)
            found.update((i, self.keep(version)) for i, version in versions.items())
        return found
