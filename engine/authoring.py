"""A document that somebody wrote, to what it means: which dialect, what it says of itself, and all that is wrong."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import structs

from engine import limits
from engine.action_book import named_in, names_in, resolved, works_of
from engine.actions import Actions, ReadActions
from engine.checks import NodeTypes, check, stored
from engine.dialect_ports import Definition, Dialect, DocumentDialect, Head
from engine.errors import Fault, InvalidDocument, InvalidWorkflow, WrittenOtherwise
from engine.graph import compile_definition
from engine.model import Graph, Presentation, Record, Task, Workflow, WorkflowVersion
from engine.placed import config_pointer
from engine.ports import Compiled
from engine.received import TriggerSpec
from engine.sources import Source
from engine.yaml_documents import encode_yaml

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*|[0-9][A-Za-z0-9_.-]*[A-Za-z_.-][A-Za-z0-9_.-]*")
"""Letters, digits, `_`, `-`, `.`; not digits alone, which would be an id."""
_BOUNDS = ("max_concurrency", "timeout", "budget")
_BESIDE = ("name", "key", "description", *_BOUNDS)
_START = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?\n)*(?:---[ \t]*\n)?")
Form = Literal["tasks", "graph", "steps", "yaml", "source"]
_DIALECTS = {"tasks": "yaml_tasks", "yaml": "yaml_tasks", "graph": "graph", "steps": "steps"}
"""The dialect that a form is written in."""


class Report(Record, frozen=True, omit_defaults=False):
    """What is known of a document without saving it. `digest` is None if it cannot be executed."""

    dialect: str | None
    head: Head
    digest: str | None
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]


class Read(Record, frozen=True):
    """A document that was read; `definition` None: nothing can be recognised in it. `faults` have their lines."""

    dialect: str | None
    head: Head
    definition: Definition | None
    faults: tuple[Fault, ...]

    @property
    def actions(self) -> tuple[str, ...]:
        """The names of those that it refers to."""
        return () if self.definition is None else named_in(self.definition.graph)


class Written(Record, frozen=True):
    """A document as bytes."""

    data: bytes
    is_yaml: bool


class Saved(NamedTuple):
    """A workflow as a document has made it, and what of the document fails when it is reached."""

    workflow: Workflow
    warnings: tuple[Fault, ...]


class Authoring:
    """Knows the dialects and the node types; pure."""

    def __init__(self, dialects: Iterable[Dialect], nodes: NodeTypes) -> None:
        self._dialects = {dialect.name: dialect for dialect in dialects}
        self._documents: dict[str, DocumentDialect] = {
            dialect.field: dialect  # type: ignore[misc]
            for dialect in self._dialects.values()
            if hasattr(dialect, "field")
        }
        self._nodes = nodes

    # --- reading ---

    def recognise(self, document: Mapping[str, Any]) -> str | None:
        """The name of the dialect, by the one field that only its documents have; None: none of them.

        Raises `InvalidDocument` if there are several such fields.
        """
        fields = [field for field in self._documents if field in document]
        if len(fields) > 1:
            raise InvalidDocument(
                f"{' and '.join(fields)} are of different dialects; give one", pointer=f"/{fields[1]}"
            )
        return self._documents[fields[0]].name if fields else None

    def read(self, source: Source) -> Read:
        """What can be told without knowing which actions there are."""
        faults = [source.placed(fault) for fault in source.faults]
        dialect: DocumentDialect | None = None
        try:
            name = self.recognise(source.value)
            dialect = None if name is None else self._document(name)
        except InvalidDocument as error:
            faults += error.faults
        if dialect is None:
            if not faults:
                known = ", ".join(sorted(self._documents))
                message = f"no workflow can be recognised here; it has one of the fields {known}"
                faults.append(Fault(message, "", "unknown_dialect", 1))
            return Read(None, Head(), None, tuple(faults))
        head, definition = dialect.read(source.value)
        said = {} if head.name is None else {"name": head.name}
        wrong = [*text_faults({**said, "description": head.description}), *key_faults(head.key)]
        return Read(dialect.name, head, definition, (*faults, *map(source.placed, wrong)))

    def report(self, source: Source, read: Read, actions: Actions | None) -> Report:
        """Everything that is wrong, at once, each with the line of its place if that can be told.

        `actions`: those that exist; None: nobody knows here.
        """
        if read.definition is None:
            return Report(read.dialect, read.head, None, read.faults, ())
        definition = resolved(read.definition, actions or {}, self._nodes)
        faults = [*read.faults, *map(source.placed, self._check(read.definition, definition))]
        warnings = [source.placed(fault) for fault in _warnings(definition, actions)]
        compiled = None if faults else compile_definition(stored(definition, self._nodes))
        digest = None if compiled is None else compiled.digest
        return Report(read.dialect, read.head, digest, _in_order(faults), _in_order(warnings))

    def compile_read(self, read: Read, actions: Actions) -> Compiled:
        """What a document without faults means; nothing of it is kept."""
        assert read.definition is not None
        return compile_definition(stored(resolved(read.definition, actions, self._nodes), self._nodes))

    def inspect(self, source: Source, actions: Actions | None = None) -> Report:
        """Both in one."""
        return self.report(source, self.read(source), actions)

    def _check(self, written: Definition, definition: Definition) -> list[Fault]:
        """The faults of a definition; where an action was merged in, they say which."""
        merged = {
            place: " and ".join(names)
            for task, now in zip(written.graph.tasks, definition.graph.tasks, strict=True)
            if task is not now
            for place, names in _referring(written, task)
        }
        faults = check(definition, self._nodes)
        return [_blamed(fault, merged) for fault in faults] if merged else faults

    def _document(self, name: str) -> DocumentDialect:
        return next(dialect for dialect in self._documents.values() if dialect.name == name)

    # --- what a draft means ---

    def define(self, draft: Workflow, actions: Actions | None = None) -> Definition:
        """With `actions` merged in; none: as it is written. Raises `InvalidWorkflow` with all faults of the draft."""
        written = self._dialects[draft.dialect].parse(draft)
        definition = resolved(written, actions or {}, self._nodes)
        faults = self._check(written, definition)
        if faults:
            raise InvalidWorkflow(summary(faults), faults=faults)
        return stored(definition, self._nodes)

    def compile(self, draft: Workflow, read: ReadActions) -> Compiled:
        """What is stored of a draft: with its source, so that a version can be gone back to."""
        names = self.actions_of(draft)
        definition = self.define(draft, read(names) if names else {})
        compiled = structs.replace(compile_definition(definition), actions=names)
        return compiled if draft.source is None else keep_source(compiled, definition, draft)

    def actions_of(self, draft: Workflow) -> tuple[str, ...]:
        """The names of actions that a draft refers to."""
        return named_in(self._dialects[draft.dialect].parse(draft).graph)

    # --- writing ---

    def written_as(self, draft: Workflow, form: Form) -> Written:
        """The draft as a document, which says its name and key; to the letter what was written if it was written so.

        Raises `WrittenOtherwise` for the source of rows, `InvalidWorkflow` for rows that mean nothing.
        """
        if form == "source":
            if draft.source is None:
                message = (
                    f"workflow {draft.id} is written as tasks, one by one; it has no source: ask for another format"
                )
                raise WrittenOtherwise(message)
            return Written(draft.source, not Source(draft.source).is_json)
        source = None if draft.source is None else Source(draft.source)
        if source is not None and draft.dialect == _DIALECTS[form]:
            return self._signed(draft, source, form)
        definition = self.define(draft)
        head = structs.replace(head_of(draft), triggers=self._triggers(draft.dialect, source))
        return self._write(head, definition.graph, definition.presentation, form)

    def _signed(self, draft: Workflow, source: Source, form: Form) -> Written:
        """What was written, and before it what was said otherwise of the workflow: by its address, or beside it."""
        head = self._document(draft.dialect).read(source.value)[0]
        now = head_of(draft)
        said = msgspec.to_builtins(now)
        other = [name for name in _BESIDE if getattr(now, name) != getattr(head, name)]
        more = {name: said[name] for name in other if name in said}
        old = {*more, *(name for name in other if name in _BOUNDS), *(("unique_name",) if "key" in more else ())}
        value = {**more, **{name: child for name, child in source.value.items() if name not in old}}
        if form == "yaml" and not source.is_json:
            text = _before(source.data, encode_yaml(more)) if more else source.data
            if Source(text).value == value:
                return Written(text, True)
        return _written(value, form)

    def version_as(self, draft: Workflow, version: WorkflowVersion, form: Form) -> Written:
        """A version of `draft`; its source, if that is asked for, or its meaning in the words of another dialect."""
        if form == "source":
            source, _ = source_of(version)
            return Written(source, not Source(source).is_json)
        graph, kept = _decode_graph(version.graph), _decode_kept(version.presentation)
        triggers = self._triggers(kept.dialect, Source(kept.source.encode()) if kept.source else None)
        said = {"max_concurrency": graph.max_concurrency, "timeout": graph.timeout, "budget": graph.budget}
        head = structs.replace(head_of(draft), **said, triggers=triggers)
        return self._write(head, graph, kept, form)

    def _triggers(self, dialect: str, source: Source | None) -> tuple[TriggerSpec, ...] | None:
        """Those that a document says."""
        return None if source is None else self._document(dialect).read(source.value)[0].triggers

    def _write(self, head: Head, graph: Graph, presentation: Presentation, form: Form) -> Written:
        return _written(self._document(_DIALECTS[form]).write(head, graph, presentation), form)


def _before(text: bytes, fields: bytes) -> bytes:
    """YAML with more fields before its own, after the comments that it begins with."""
    start = _START.match(text)
    at = start.end() if start else 0
    return text[:at] + fields + text[at:]


def _written(document: dict[str, Any], form: Form) -> Written:
    is_yaml = form == "yaml"
    return Written(encode_yaml(document) if is_yaml else msgspec.json.encode(document), is_yaml)


# --- what a version was written in ---


class Kept(Presentation, frozen=True):
    """A presentation as it is stored: with what it was written in."""

    dialect: str = ""
    source: str = ""


def keep_source(compiled: Compiled, definition: Definition, draft: Workflow) -> Compiled:
    """`compiled` with the source of `draft` in its presentation."""
    names, order = definition.presentation.names, definition.presentation.order
    kept = Kept(names, order, draft.dialect, (draft.source or b"").decode())
    return structs.replace(compiled, presentation=msgspec.json.encode(kept))


_decode_kept = msgspec.json.Decoder(Kept).decode
_decode_graph = msgspec.json.Decoder(Graph).decode


def source_of(version: WorkflowVersion) -> tuple[bytes, dict[str, Any]]:
    """What `version` was written in, and what it was given beside that. Raises `WrittenOtherwise` if it was rows."""
    kept = _decode_kept(version.presentation)
    if not kept.source:
        message = f"version {version.number} was written as tasks, one by one; it has no document to go back to"
        raise WrittenOtherwise(f"{message}: take it with GET .../versions/{version.number}?format=yaml and PUT that")
    graph = _decode_graph(version.graph)
    beside = {"max_concurrency": graph.max_concurrency, "timeout": graph.timeout, "budget": graph.budget}
    return kept.source.encode(), beside


# --- what a document says of itself ---


def text_faults(fields: Mapping[str, Any]) -> list[Fault]:
    """Of a name and a description, if they are given."""
    faults = [*_too_long(fields, "name", limits.NAME), *_too_long(fields, "description", limits.DESCRIPTION)]
    if "name" in fields and not (fields["name"] or "").strip():
        faults.append(Fault("a name is required", "/name", "required"))
    return faults


def _too_long(fields: Mapping[str, Any], name: str, longest: int) -> list[Fault]:
    text = fields.get(name) or ""
    if len(text) <= longest:
        return []
    return [Fault(f"{name} has {len(text)} characters; at most {longest} are allowed", f"/{name}", "too_long")]


def key_faults(key: str | None) -> list[Fault]:
    """Of the key of a workflow."""
    if key is None or (KEY.fullmatch(key) and len(key) <= limits.NAME):
        return []
    message = f"a key has letters, digits, '_', '-' and '.', not digits alone, at most {limits.NAME} characters"
    return [Fault(message, "/key", "invalid_key")]


def key_of(head: Head, fallback: str) -> str:
    """The key that a document is registered by: its own, else its name if that could be a key, else `fallback`."""
    return head.key or (head.name if head.name and not key_faults(head.name) else fallback)


def head_of(draft: Workflow) -> Head:
    return Head(draft.name, draft.key, draft.description, draft.max_concurrency, draft.timeout, budget=draft.budget)


def summary(faults: Iterable[Fault]) -> str:
    """The first, and how many more."""
    first, *more = faults
    return first.message + (f" (and {len(more)} more)" if more else "")


def _blamed(fault: Fault, merged: Mapping[str, str]) -> Fault:
    """`merged` are names of actions by where their tasks have their config."""
    for place, name in merged.items():
        if fault.pointer == place or fault.pointer.startswith(f"{place}/"):
            return structs.replace(fault, message=f"{fault.message} (with the action {name!r} merged in)")
    return fault


def _referring(written: Definition, task: Task) -> Iterator[tuple[str, list[str]]]:
    """Where a task refers to actions, and to which."""
    places = config_pointer(written, task.key), f"{written.pointers.get(task.key, '')}/compensate"
    for place, work in zip(places, works_of(task), strict=False):
        if names := list(names_in(*work)):
            yield place, names


def _warnings(definition: Definition, actions: Actions | None) -> list[Fault]:
    """What can be saved and will fail when it is reached."""
    found = list(definition.warnings)
    for task in definition.graph.tasks:
        for (kind, config), below in zip(works_of(task), ("", "/compensate"), strict=False):
            for name in names_in(kind, config):
                is_missing = f"there is no action {name!r:.100} yet; {task.key!r} fails when it is reached"
                is_open = f"whether there is an action {name!r:.100} is known on the server only"
                message = is_open if actions is None else is_missing
                found.append(Fault(message, definition.pointers.get(task.key, "") + below, "unknown_action"))
    return found


def _in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """By line, as one reads."""
    return tuple(sorted(faults, key=lambda fault: fault.line or 0))
