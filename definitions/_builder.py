"""What the dialects whose drafts are documents share: fields of tasks read with their faults, edges to a definition."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import structs

from definitions._triggers import FIELDS as TRIGGERS
from definitions._triggers import read_triggers
from definitions._ways import Way
from engine import limits
from engine.bodies import BODY, SPELLINGS
from engine.configs import reason_of
from engine.dialect_ports import Definition, Head
from engine.documents import pointer
from engine.errors import Fault
from engine.graph import END, ERROR_LABEL, HINTS, TASK_KEY, suggestion, task_content
from engine.model import Budget, Compensation, Edge, Graph, Presentation, Resources, RetryPolicy, Task, Workflow
from engine.sources import decode_source

OPTIONS = (
    "name",
    "description",
    "when",
    "retry",
    "timeout",
    "executor",
    "on_error",
    "heartbeat_timeout",
    "resources",
    "concurrency_key",
    "concurrency_limit",
    "compensate",
    "total_timeout",
)
"""What may be said of a task in every dialect, beside its type, its config and what it follows."""
HEAD = ("name", "key", "unique_name", "description", "max_concurrency", "timeout", "budget", *TRIGGERS)
ACTION = "action"
"""The type of a task that is named by an action stored elsewhere: config `{"action": NAME, "config": {…}}`."""

_WHEN = next(field.type for field in msgspec.structs.fields(Task) if field.name == "when")
_RETRY = {
    "max_attempts": ("max_attempts", "maximum_attempts", "attempts"),
    "initial_interval": ("initial_interval", "delay_seconds", "interval", "delay"),
    "backoff_coefficient": ("backoff_coefficient", "backoff", "multiplier"),
    "maximum_interval": ("maximum_interval", "max_interval", "max_delay"),
    "jitter": ("jitter",),
    "non_retryable": ("non_retryable", "non_retryable_error_types"),
}
"""Our word for each, and how others spell it."""
_STEADY = {"delay_seconds", "delay"}
"""Spellings of the first interval that mean every interval, unless a backoff is given too."""
_BACKOFF = {"exponential": 2.0, "fixed": 1.0, "constant": 1.0, "none": 1.0}
_SPELLINGS = {spelling: ours for ours, spellings in _RETRY.items() for spelling in spellings}
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Builder:
    """Tasks and edges of one document, and all that is wrong with it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []
        self.tasks: dict[str, Task] = {}
        self.pointers: dict[str, str] = {}
        self.configs: dict[str, str] = {}
        self.types: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._edges: dict[Edge, str] = {}
        self._labels: dict[str, list[tuple[str, str]]] = {}
        self._named: dict[str, set[str]] = {}
        self._unknown = 0
        self.document = document
        self._timeout: float | None = None
        self.budget: Budget | None = self.value(document, "budget", "", Budget, None)

    # --- what is wrong ---

    def fault(self, message: str, where: str, code: str = "invalid_value") -> None:
        self.faults.append(Fault(message, where, code))

    def warn(self, message: str, where: str, code: str) -> None:
        self.warnings.append(Fault(message, where, code))

    def hint(self, word: str, known: Iterable[str]) -> str:
        """A suggestion, for the first few."""
        self._unknown += 1
        return suggestion(word, known) if self._unknown <= HINTS else ""

    # --- fields ---

    def head(self, known: Iterable[str]) -> Head:
        """What the document says of the whole; fields that nobody reads are told."""
        document = self.document
        keys = [word for word in ("key", "unique_name") if document.get(word) is not None]
        if len(keys) == 2:
            self.fault("key and unique_name are the same; give one", "/unique_name")
        fields = {*HEAD, *known}
        for name in document:
            if name not in fields:
                message = f"the field {name!r:.100} is not used{self.hint(name, fields)}"
                self.warn(message, pointer(name), "unused_field")
        bound = self.value(document, "max_concurrency", "", int, None)
        if bound is not None and not 1 <= bound <= limits.CONCURRENCY:
            self.fault(f"max_concurrency is between 1 and {limits.CONCURRENCY}", "/max_concurrency", "out_of_range")
        self._timeout = self.seconds(document, "timeout", "")
        if self._timeout is not None and not 0 < self._timeout <= limits.DURATION:
            self.fault("a timeout is above 0 and at most a year", "/timeout", "out_of_range")
        key = self.value(document, keys[0], "", str, None) if keys else None
        name, description = (self.value(document, word, "", str, None) for word in ("name", "description"))
        triggers = read_triggers(document, self.faults.append)
        return Head(name, key, description, bound, self._timeout, triggers, self.budget)

    def value(self, spec: Mapping[str, Any], name: str, where: str, kind: Any, default: Any) -> Any:
        """The field `name` as a `kind`; absent or null: the default."""
        given = spec.get(name)
        if given is None:
            return default
        if type(given) is kind:
            return given
        return self.convert(given, kind, where + pointer(name), default)

    def convert(self, given: Any, kind: Any, where: str, default: Any) -> Any:
        """`given` as a `kind`, or a fault and the default."""
        try:
            return msgspec.convert(given, kind)
        except msgspec.ValidationError as error:
            message, place = reason_of(error)
            self.fault(f"{where.rpartition('/')[2]}: {message}", where + place)
            return default

    def mapping(self, spec: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
        """The object at `name`, empty if it is absent."""
        found: dict[str, Any] = self.value(spec, name, where, dict, {})
        return found

    def seconds(self, spec: Mapping[str, Any], name: str, where: str) -> float | None:
        """A duration: seconds, or a number with ms, s, m, h or d."""
        given = spec.get(name)
        if isinstance(given, str):
            found = _DURATION.fullmatch(given.strip())
            if found is not None:
                return float(found[1]) * _UNITS[found[2]]
            message = f"{name} is in seconds, or a text such as 500ms, 30s, 5m, 2h, 1d; not {given!r:.100}"
            self.fault(message, where + pointer(name))
            return None
        seconds: float | None = self.value(spec, name, where, float, None)
        return seconds

    # --- tasks ---

    def add(self, key: str, kind: str, config: dict[str, Any], spec: Mapping[str, Any], where: str) -> None:
        """A task; `spec` holds its options. One whose key is impossible or taken is a fault and left out."""
        if not TASK_KEY.fullmatch(key) or len(key) > limits.NAME:
            self.fault(f"the key {key!r:.100} is no word of letters, digits, '_' and '-'", where, "invalid_key")
            return
        if key in self.tasks:
            self.fault(f"two tasks have the key {key!r}; a key names one task", where, "duplicate_key")
            return
        self.pointers[key] = where
        self.value(spec, "description", where, str, "")
        self._names[key] = self._name(spec, where) or key
        self.tasks[key] = Task(
            key,
            kind,
            config,
            self.value(spec, "when", where, _WHEN, True),
            self._retry(spec, where),
            self.seconds(spec, "timeout", where),
            self.value(spec, "executor", where, str | None, None),
            self.value(spec, "on_error", where, str, "fail"),
            self.seconds(spec, "heartbeat_timeout", where),
            self._resources(spec, where),
            self.value(spec, "concurrency_key", where, str | None, None),
            self.value(spec, "concurrency_limit", where, int, 1),
            compensate=self._compensation(spec, where),
            total_timeout=self.seconds(spec, "total_timeout", where),
        )

    def _compensation(self, spec: Mapping[str, Any], where: str) -> Compensation | None:
        given = self.value(spec, "compensate", where, dict, None)
        if given is None:
            return None
        where += "/compensate"
        fields = Compensation.__struct_fields__
        for name in given:
            if name not in fields:
                message = f"compensate has no field {name!r:.100}{self.hint(name, fields)}"
                self.fault(f"{message}; what its type needs is config", where + pointer(name), "unknown_field")
        kind = self.value(given, "type", where, str, "")
        if not kind and isinstance(given.get("type"), str | None):
            self.fault("compensate needs a type: what undoes the task", f"{where}/type", "required")
            kind = "noop"
        return Compensation(
            kind,
            self.mapping(given, "config", where),
            self._retry(given, where),
            self.seconds(given, "timeout", where),
            self.value(given, "executor", where, str | None, None),
            self.seconds(given, "heartbeat_timeout", where),
            self._resources(given, where),
        )

    def _name(self, spec: Mapping[str, Any], where: str) -> str:
        name: str = self.value(spec, "name", where, str, "")
        if len(name) > limits.NAME:
            message = f"name has {len(name)} characters; at most {limits.NAME} are allowed"
            self.fault(message, f"{where}/name", "too_long")
        return name

    def _resources(self, spec: Mapping[str, Any], where: str) -> Resources:
        for name in self.mapping(spec, "resources", where):
            if name not in Resources.__struct_fields__:
                message = f"resources has no field {name!r:.100}{self.hint(name, Resources.__struct_fields__)}"
                self.fault(message, f"{where}/resources{pointer(name)}", "unknown_field")
        found: Resources = self.value(spec, "resources", where, Resources, Resources())
        return found

    def _retry(self, spec: Mapping[str, Any], where: str) -> RetryPolicy:
        given = self.mapping(spec, "retry", where)
        where += "/retry"
        found: dict[str, Any] = {}
        for spelling, value in given.items():
            ours = _SPELLINGS.get(spelling)
            place = where + pointer(spelling)
            if ours is None:
                message = f"retry has no field {spelling!r:.100}{self.hint(spelling, _SPELLINGS)}"
                self.fault(message, place, "unknown_field")
            elif ours in found:
                self.fault(f"{spelling} says again what {ours} is; give one", place)
            elif isinstance(value, str) and ours == "backoff_coefficient":
                found[ours] = self._backoff(value, place)
            elif isinstance(value, str) and ours.endswith("interval"):
                found[ours] = self.seconds(given, spelling, where)
            else:
                found[ours] = value
        if _STEADY & given.keys() and "backoff_coefficient" not in found:
            found["backoff_coefficient"] = 1.0
        return self._policy({ours: value for ours, value in found.items() if value is not None}, given, where)

    def _backoff(self, word: str, where: str) -> float | None:
        if word not in _BACKOFF:
            self.fault(f"backoff is a number from 1 on, or one of {', '.join(_BACKOFF)}; not {word!r:.100}", where)
        return _BACKOFF.get(word)

    def _policy(self, found: dict[str, Any], given: Mapping[str, Any], where: str) -> RetryPolicy:
        try:
            return msgspec.convert(found, RetryPolicy)
        except msgspec.ValidationError as error:
            text = str(error)
            ours = next((ours for ours in found if f"$.{ours}" in text), "")
            spelling = next((word for word in given if _SPELLINGS.get(word) == ours), "")
            self.fault(f"{spelling}: {text.partition(' - at ')[0]}", where + pointer(spelling))
            return RetryPolicy()

    def _read_body(self, kind: str, config: dict[str, Any], where: str) -> dict[str, Any]:
        """What a map or loop runs is a task without a key: its options are spelled as anywhere."""
        body = config.get(BODY)
        if kind.partition("@")[0] not in SPELLINGS or not isinstance(body, dict):
            return config
        where += pointer(BODY)
        texts = [name for name in ("timeout", "heartbeat_timeout") if isinstance(body.get(name), str)]
        read: dict[str, Any] = {name: self.seconds(body, name, where) for name in texts}
        if isinstance(body.get("retry"), dict):
            read["retry"] = msgspec.to_builtins(self._retry(body, where))
        if isinstance(body.get("config"), dict):
            read["config"] = self._read_body(str(body.get("type")), body["config"], f"{where}/config")
        return {**config, BODY: {**body, **read}}

    # --- edges ---

    def follow(self, source: str, target: str, label: str | None, where: str) -> None:
        """`target` comes after `source`; `END`: nothing does. The config of a branch goes before a bare edge."""
        if label is None and target in self._named.get(source, ()):
            return
        if target != END or label is not None:
            self._edges.setdefault(Edge(source, target, label), where)

    def ways(self, source: str, ways: Iterable[Way], where: str) -> None:
        """The labels that the config of `source` names; `where` is the place of that config."""
        for way in ways:
            self._labels.setdefault(source, []).append((way.label, where + way.where))
            if way.target is not None:
                self._named.setdefault(source, set()).add(way.target)
                self.follow(source, way.target, way.label, where + way.where)

    def next(self, source: str, given: Any, where: str) -> None:
        """`next`: a key, a list of keys, or these by label (`*`: without one)."""
        by_label = given if isinstance(given, dict) else {"*": given}
        for label, targets in by_label.items():
            place = where + pointer(label) if isinstance(given, dict) else where
            for target in targets if isinstance(targets, list) else [targets]:
                if target is None or isinstance(target, str):
                    ends = target in (None, "", "end")
                    self.follow(source, END if ends else str(target), None if label == "*" else label, place)
                else:
                    message = "next is the key of a task, `end`, a list of keys, or an object of these by label"
                    self.fault(message, place)

    def labels(self, source: str) -> list[str]:
        """The labels that the config of `source` names."""
        return [label for label, _ in self._labels.get(source, ())]

    # --- the whole ---

    def keep(self, keys: Iterable[str]) -> None:
        """Leaves out every task but these."""
        self.tasks = {key: self.tasks[key] for key in keys}

    def successors(self) -> dict[str, list[str]]:
        """The keys that can come next, those of `on_error` among them."""
        found = {key: [task.on_error] if _has_handler(task) else [] for key, task in self.tasks.items()}
        for edge in self._edges:
            if edge.source in found:
                found[edge.source].append(edge.target)
        return found

    def build(self, **names: Any) -> Definition:
        """The definition; `names` are what the user calls things."""
        edges = self._checked()
        for key, task in self.tasks.items():
            config = self._read_body(task.type, task.config, self.configs.get(key, f"{self.pointers[key]}/config"))
            self.tasks[key] = structs.replace(task, config=config)
            if _has_handler(task) and task.on_error in self.tasks:
                edges.append(Edge(key, task.on_error, ERROR_LABEL))
        bound = self.document.get("max_concurrency")
        graph = Graph(
            tuple(self.tasks.values()),
            tuple(edges),
            max_concurrency=bound if type(bound) is int else None,
            timeout=self._timeout,
            budget=self.budget,
        )
        shown = {key: self._names[key] for key in self.tasks}
        presentation = Presentation(shown, tuple(self.tasks))
        return Definition(
            graph,
            presentation,
            {key: self.pointers[key] for key in self.tasks},
            configs=self.configs,
            types=self.types,
            faults=tuple(self.faults),
            warnings=tuple(self.warnings),
            **names,
        )

    def _checked(self) -> list[Edge]:
        edges = [edge for edge in self._edges if edge.source in self.tasks]
        for edge in edges:
            if edge.label == ERROR_LABEL:
                self.fault(f"the label {ERROR_LABEL} is the engine's own; use on_error", self._edges[edge])
            if edge.target != END and edge.target not in self.tasks:
                message = f"{edge.source!r} leads to the task {edge.target!r:.100}, which does not exist"
                hint = self.hint(edge.target, self.tasks)
                self.warn(f"{message}{hint}; it fails when it goes there", self._edges[edge], "unknown_target")
        used: dict[str, set[str | None]] = {}
        for edge in edges:
            used.setdefault(edge.source, set()).add(edge.label)
        for source, labels in self._labels.items():
            there = used.get(source, set()) - {None}
            for label, where in labels:
                if there and label not in there and source in self.tasks:
                    message = f"no edge of {source!r} has the label {label!r:.100}; it fails when that is its outcome"
                    self.warn(message, where, "unknown_label")
        return [edge for edge in edges if edge.label != ERROR_LABEL]


def _has_handler(task: Task) -> bool:
    return task.on_error not in ("fail", "continue")


def document_of(draft: Workflow) -> dict[str, Any]:
    """The source of `draft`, which was checked when it was saved; what can be changed beside it is as it is now."""
    document: dict[str, Any] = decode_source(draft.source or b"{}")
    beside = {"max_concurrency": draft.max_concurrency, "timeout": draft.timeout}
    return {**document, **beside, "budget": msgspec.to_builtins(draft.budget)}


# --- writing --------------------------------------------------------------------------------------


def written_head(head: Head) -> dict[str, Any]:
    """The fields of `head` that are not None."""
    return {name: value for name, value in msgspec.to_builtins(head).items() if value is not None}


def in_order(graph: Graph, presentation: Presentation) -> list[Task]:
    """Tasks as people see them."""
    place = {key: index for index, key in enumerate(presentation.order)}
    return sorted(graph.tasks, key=lambda task: place.get(task.key, len(place)))


def written_options(task: Task, presentation: Presentation) -> dict[str, Any]:
    """All that is said of a task beside its key, type, config and edges."""
    content = task_content(task).items()
    options = {name: msgspec.to_builtins(value) for name, value in content if name not in {"key", "type", "config"}}
    name = presentation.names.get(task.key, task.key)
    return ({} if name == task.key else {"name": name}) | options


def written_next(edges: Iterable[Edge]) -> Any:
    """What `Builder.next` reads to the same edges, the engine's own apart; None: nothing follows."""
    by_label: dict[str, list[str]] = {}
    for edge in edges:
        if edge.label != ERROR_LABEL:
            by_label.setdefault("*" if edge.label is None else edge.label, []).append(edge.target or "end")
    shown = {label: targets[0] if len(targets) == 1 else targets for label, targets in by_label.items()}
    return shown["*"] if list(shown) == ["*"] else shown or None
