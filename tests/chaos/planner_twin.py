"""The slow, obvious twin of the planner: it knows only the graph and the whole list of events.

Nothing is kept between two questions. Each answer is worked out from the first event on, in the words of the
design's section *Meaning*; none of the engine's own folding, planning or rendering is used.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from engine import events as ev
from engine.model import Compensation, Failure, Graph, RetryPolicy, Task
from engine.states import TaskStatus as T

MISSING = object()
IN_LINE = 16
"""Runs of one map that may wait for slots at once."""
RESULTS = 1024 * 1024
"""Bytes that the items of one map may put out."""
_STEP = re.compile(r"\[(\d+)\]|\.(\d+)")
_OPEN = (T.SCHEDULED, T.RUNNING, T.RETRYING, T.WAITING)
_DONE = (T.COMPLETED, T.FAILED, T.SKIPPED, T.CANCELLED)
_STATUS: dict[type[ev.Event], T] = {
    ev.TaskScheduled: T.SCHEDULED,
    ev.TakenOver: T.SCHEDULED,
    ev.TaskLost: T.SCHEDULED,
    ev.TaskStarted: T.RUNNING,
    ev.TaskCompleted: T.COMPLETED,
    ev.TaskFannedOut: T.WAITING,
    ev.TaskSleeping: T.WAITING,
    ev.TaskAwaiting: T.WAITING,
    ev.BudgetRaised: T.SCHEDULED,
    ev.TaskSkipped: T.SKIPPED,
    ev.TaskCancelled: T.CANCELLED,
}


class Verdict(NamedTuple):
    """What must follow now: tasks that may start, tasks to settle (with the reason), tasks to cancel, the end.

    `undoing` says that compensations begin before the end. `fans` are the decisions of maps and loops, of which one is
    made at a time, when there is no other: a run that starts, or the end, with runs to cancel before it and the type of
    the failure.
    """

    starts: frozenset[str]
    skips: frozenset[tuple[str, str]]
    faults: frozenset[str]
    cancels: frozenset[str]
    end: ev.Event | None
    undoing: ev.CompensationStarted | None = None
    fans: frozenset["FanVerdict"] = frozenset()


class FanVerdict(NamedTuple):
    """`start` or `key`: which run begins, or which map or loop ends."""

    start: str | None
    key: str | None = None
    cancels: frozenset[str] = frozenset()
    failure: str | None = None


NOTHING = Verdict(frozenset(), frozenset(), frozenset(), frozenset(), None)


class History:
    """The events of one execution, looked at from scratch."""

    def __init__(self, graph: Graph, events: Sequence[ev.Event]) -> None:
        self.graph = graph
        self.events = events
        self.tasks = {task.key: task for task in graph.tasks}
        self.undone = {f"{task.key}~compensate": task.key for task in graph.tasks if task.compensate is not None}
        """What each compensation undoes."""
        self._own: dict[str, list[ev.Event]] = defaultdict(list, {key: [] for key in (*self.tasks, *self.undone)})
        for event in events:
            for key in getattr(event, "lost", None) or (getattr(event, "task", None),):
                if key is not None:
                    self._own[key].append(event)

    @property
    def keys(self) -> list[str]:
        """Tasks, what undoes them, and the items and rounds that have begun."""
        return list(self._own)

    def work(self, address: str) -> Task | Compensation:
        """What is run under it."""
        key, *steps = re.split(r"[\[.]", address)
        work = self.tasks[self.undone[key]].compensate if key in self.undone else self.tasks[key]
        for _ in steps:
            assert work is not None
            body = work.config["task"]
            work = Task(key, body["type"], body["config"], retry=RetryPolicy(**body["retry"]))
        assert work is not None
        return work

    def own(self, key: str) -> list[ev.Event]:
        """The events of one task; a take-over that lost it is one of them."""
        return self._own[key]

    def status(self, key: str) -> T:
        """As the last event of the task has it."""
        last = self.own(key)[-1:]
        if not last:
            return T.PENDING
        if isinstance(last[0], ev.ChildStarted):
            return T.WAITING if last[0].wait else T.RUNNING
        if isinstance(last[0], ev.TaskFailed):
            return T.FAILED if last[0].retry_in is None else T.RETRYING
        return _STATUS[type(last[0])]

    def attempts(self, key: str) -> int:
        return sum(isinstance(e, ev.TaskStarted) for e in self.own(key))

    def failures(self, key: str) -> int:
        return sum(isinstance(e, ev.TaskFailed) for e in self.own(key))

    def losses(self, key: str) -> int:
        """Of its process, perhaps by its own doing."""
        return sum(isinstance(e, ev.TakenOver) or (isinstance(e, ev.TaskLost) and e.suspect) for e in self.own(key))

    def waits_for(self, key: str) -> str | None:
        """The name of the signal that the task waits for."""
        last = self.own(key)[-1:]
        return last[0].name if last and isinstance(last[0], ev.TaskAwaiting) else None

    def child(self, key: str) -> int | None:
        """The execution whose end the task waits for."""
        last = self.own(key)[-1:]
        return last[0].execution_id if last and isinstance(last[0], ev.ChildStarted) and last[0].wait else None

    def mail(self, name: str) -> list[Any]:
        """Payloads of signals that no task has taken, oldest first."""
        came = [e.payload for e in self.events if isinstance(e, ev.SignalReceived) and e.name == name]
        taken = sum(
            isinstance(mine[place - 1], ev.TaskAwaiting) and mine[place - 1].name == name  # type: ignore[union-attr]
            for mine in map(self.own, self.keys)
            for place in range(1, len(mine))
            if isinstance(mine[place], ev.TaskCompleted | ev.BudgetRaised)
        )
        return came[taken:]

    # --- the decision ---

    def verdict(self, *, late: bool = False) -> Verdict:
        """What must follow; `late`: the time of the whole is over."""
        if not self.events or isinstance(self.events[-1], ev.TERMINAL_EVENTS):
            return NOTHING
        statuses = {key: self.status(key) for key in self.keys}
        why = self.why(late=late)
        if why is not None:
            still_open = frozenset(key for key, status in statuses.items() if status in _OPEN)
            return self._undo(why) if self.compensating() else self._stop(why, still_open)
        if all(statuses[key] in _DONE for key in self.tasks):
            return NOTHING._replace(end=ev.ExecutionCompleted())
        joins = self._joins({key: statuses[key] for key in self.tasks})
        return joins if joins != NOTHING else NOTHING._replace(fans=frozenset(self._fans(statuses)))

    def _fans(self, statuses: dict[str, T]) -> Iterator[FanVerdict]:
        """What maps and loops have to decide."""
        for key, status in statuses.items():
            event = self.fanned_out(key)
            if event is None or status in _DONE:
                continue
            is_map = self.work(key).type == "map"
            mine = [run for run in statuses if self.outer(run) == key]
            live = [run for run in mine if statuses[run] in _OPEN]
            failed = sum(statuses[run] is T.FAILED for run in mine)
            if failed > event.tolerated:
                kind = "items_failed" if is_map else self.own(mine[-1])[-1].error.type  # type: ignore[union-attr]
                yield FanVerdict(None, key, self._open_below(key, statuses), kind)
                continue
            if is_map and sum(map(self.size, mine)) > RESULTS:
                yield FanVerdict(None, key, self._open_below(key, statuses), "output_too_large")
                continue
            if len(live) >= event.max_parallel or sum(statuses[run] is T.SCHEDULED for run in live) >= IN_LINE:
                continue
            if is_map and len(mine) < event.count:
                yield FanVerdict(f"{key}[{len(mine)}]")
            elif is_map and not live:
                yield FanVerdict(None, key, failure=self.lost_way(key, None))
            elif not is_map:
                yield self._round(key, event.count, len(mine))

    def _open_below(self, key: str, statuses: dict[str, T]) -> frozenset[str]:
        return frozenset(r for r in statuses if r.startswith((f"{key}[", f"{key}.")) and statuses[r] in _OPEN)

    def size(self, run: str) -> int:
        """Bytes of what an item has put out, or of the error that it failed with."""
        last = self.own(run)[-1]
        if isinstance(last, ev.TaskFailed) and last.retry_in is None:
            said: Any = [last.error.type, last.error.message]
        elif isinstance(last, ev.TaskCompleted):
            said = self.output(run)
        else:
            return 0
        return len(json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode())

    def _round(self, key: str, most: int, ended: int) -> FanVerdict:
        config = self.work(key).config
        is_until = "until" in config
        if not is_until or ended:
            last = self.output(f"{key}.{ended}") if ended else None
            names = {**self.names(key), "round": ended + (not is_until), "last": last}
            holds = self.render(config["until" if is_until else "while"], names)
            if holds is MISSING:
                return FanVerdict(None, key, failure="template")
            if bool(holds) == is_until:
                return FanVerdict(None, key, failure=self.lost_way(key, None))
        return FanVerdict(f"{key}.{ended + 1}") if ended < most else FanVerdict(None, key, failure="max_rounds")

    def fanned_out(self, key: str) -> ev.TaskFannedOut | None:
        """The event with which it began to run another task many times."""
        return next((event for event in self.own(key) if isinstance(event, ev.TaskFannedOut)), None)

    def outer(self, run: str) -> str:
        """The map or loop that it is a run of; empty for a task."""
        steps = list(_STEP.finditer(run))
        return run[: steps[-1].start()] if steps else ""

    def outers(self, run: str) -> Iterator[str]:
        """All maps and loops around it, the innermost first."""
        while run := self.outer(run):
            yield run

    def names(self, run: str) -> dict[str, Any]:
        """The roots that its templates have besides."""
        found: dict[str, Any] = {}
        for step in _STEP.finditer(run):
            outer, number = run[: step.start()], int(step[1] or step[2])
            if step[1]:
                items = self.render(self.work(outer).config["items"], found)
                found = {**found, "item": items[number], "index": number}
            else:
                found = {**found, "round": number, "last": self.output(f"{outer}.{number - 1}") if number > 1 else None}
        return found

    def output(self, key: str) -> Any:
        """What a task, item or round has put out."""
        done = [event for event in self.own(key) if isinstance(event, ev.TaskCompleted)]
        fan = self.fanned_out(key)
        if not done or fan is None:
            return done[0].output if done else None
        mine = [run for run in self.keys if self.outer(run) == key]
        if self.work(key).type == "loop":
            return {"last": self.output(mine[-1]) if mine else None, "rounds": len(mine)}
        last = [(place, self.own(run)[-1]) for place, run in enumerate(mine) if self.status(run) is T.FAILED]
        errors = [(place, event.error) for place, event in last if isinstance(event, ev.TaskFailed)]
        return {
            "results": [self.output(run) for run in mine],
            "errors": [{"index": place, "type": e.type, "message": e.message} for place, e in errors],
        }

    def why(self, *, late: bool = False) -> ev.CancelRequested | Failure | None:
        """Why it must end, if it must; that it lasted too long is said by how it begins to."""
        cancels = [event for event in self.events if isinstance(event, ev.CancelRequested)]
        if cancels or (fatal := self.fatal()):
            return cancels[0] if cancels else fatal
        if late:
            return self.too_long()
        return next((event.error for event in self.events if isinstance(event, ev.CompensationStarted)), None)

    def too_long(self) -> Failure:
        """With what an execution fails that lasts longer than it may."""
        return Failure("timeout", f"the execution lasted longer than {self.graph.timeout:g} s, its timeout")

    def has_ended(self, key: str) -> bool:
        return self.status(key) in _DONE

    def compensating(self) -> bool:
        return any(isinstance(event, ev.CompensationStarted) for event in self.events)

    def to_undo(self) -> list[str]:
        """Every compensation that is due in this execution, in its order."""
        done = [e.task for e in self.events if isinstance(e, ev.TaskCompleted) and e.task in self.undone.values()]
        return [f"{key}~compensate" for key in reversed(done)]

    def _stop(self, why: ev.CancelRequested | Failure, still_open: frozenset[str]) -> Verdict:
        verdict = NOTHING._replace(cancels=still_open)
        if self.to_undo():
            return verdict._replace(undoing=ev.CompensationStarted(why if isinstance(why, Failure) else None))
        return verdict._replace(end=self._end(why, ""))

    def _undo(self, why: ev.CancelRequested | Failure) -> Verdict:
        statuses = {key: self.status(key) for key in self.to_undo()}
        if any(status in _OPEN for status in statuses.values()):
            return NOTHING
        for key, status in statuses.items():
            if status is T.PENDING:
                return NOTHING._replace(starts=frozenset((key,)))
        bad = [key for key, status in statuses.items() if status is T.FAILED]
        names = [repr(self.undone[key]) for key in bad]
        more = f" and {len(names) - 5} more" if names[5:] else ""
        plural = "s" if names[1:] else ""
        text = f"the compensation{plural} of {', '.join(names[:5])}{more} failed" if names else ""
        return NOTHING._replace(end=self._end(why, text, self.undone[bad[0]] if bad else None))

    def _end(self, why: ev.CancelRequested | Failure, left: str, task: str | None = None) -> ev.Event:
        if isinstance(why, Failure):
            return ev.ExecutionFailed(Failure(why.type, f"{why.message}; {left}" if left else why.message, why.task))
        return ev.ExecutionCancelled(why.reason, Failure("compensation_failed", left, task) if left else None)

    def fatal(self) -> Failure | None:
        """The first failure that nothing handles."""
        for event in self.events:
            if (
                isinstance(event, ev.TaskFailed)
                and event.retry_in is None
                and event.task in self.tasks
                and self.tasks[event.task].on_error == "fail"
            ):
                return Failure(event.error.type, event.error.message, event.task)
        return None

    def _joins(self, statuses: dict[str, T]) -> Verdict:
        starts, skips, faults = set(), set(), set()
        for key, status in statuses.items():
            if status is not T.PENDING:
                continue
            incoming = [self.taken(e.source, e.label, statuses) for e in self.graph.edges if e.target == key]
            if None in incoming:
                continue
            if incoming and not any(incoming):
                skips.add((key, "not_taken"))
                continue
            wanted = self.render(self.tasks[key].when)
            if wanted is MISSING:
                faults.add(key)
            elif wanted:
                starts.add(key)
            else:
                skips.add((key, "when"))
        return Verdict(frozenset(starts), frozenset(skips), frozenset(faults), frozenset(), None)

    def taken(self, source: str, label: str | None, statuses: dict[str, T]) -> bool | None:
        """Whether an edge out of `source` is taken; None while that is open."""
        last = self.own(source)[-1:]
        on_error = self.tasks[source].on_error
        match statuses[source]:
            case T.COMPLETED:
                return label is None or label == last[0].label  # type: ignore[union-attr]
            case T.SKIPPED:
                return label is None and last[0].reason == "when"  # type: ignore[union-attr]
            case T.FAILED if on_error == "continue":
                return label is None
            case T.FAILED:
                return label == "@error"
            case _:
                return None

    def lost_way(self, source: str, label: str | None) -> str | None:
        """The type of failure of a task that ends well with `label`, because that leads nowhere; None: it does not."""
        out = [edge for edge in self.graph.edges if edge.source == source and edge.label != "@error"]
        wrong = [edge.label for edge in out if edge.target and edge.target not in self.tasks]
        if None in wrong:
            return "unknown_target"
        labels = {edge.label for edge in out} - {None}
        if label is not None and labels and (label in wrong or label not in labels):
            return "unknown_label"
        return None

    # --- templates: whole strings only ---

    def config(self, run: str) -> Any:
        """What an attempt is given; what it runs many times is no part of that."""
        config = self.work(run).config
        apart = ("task", "until", "while") if self.work(run).type in ("map", "loop") else ()
        own = self.render({name: value for name, value in config.items() if name not in apart}, self.names(run))
        return own if own is MISSING else own | {name: config[name] for name in apart if name in config}

    def render(self, value: Any, names: dict[str, Any] | None = None) -> Any:
        """`value` with its templates replaced, or MISSING if one of them leads nowhere."""
        if isinstance(value, dict):
            children = {key: self.render(child, names) for key, child in value.items()}
            return MISSING if any(child is MISSING for child in children.values()) else children
        if isinstance(value, list):
            items = [self.render(child, names) for child in value]
            return MISSING if any(child is MISSING for child in items) else items
        if isinstance(value, str) and value.startswith("{{"):
            return self._look_up(value.strip("{}"), names or {})
        return value

    def _look_up(self, path: str, names: dict[str, Any]) -> Any:
        root, *rest = re.findall(r"[^.\[\]]+", path)
        value: Any
        if root == "input":
            started = self.events[0]
            assert isinstance(started, ev.ExecutionStarted)
            value = started.input
        elif root == "error":
            why = self.why()
            if isinstance(why, Failure):
                value = {"type": why.type, "message": why.message, "task": why.task}
            else:
                value = {"type": "cancelled", "message": "the execution was cancelled", "task": None}
        elif root in names:
            value = names[root]
        else:
            key, _, *rest = rest
            value = self.output(key)
        for segment in rest:
            try:
                value = value[int(segment)] if isinstance(value, list) else value[segment]
            except (LookupError, TypeError):
                return MISSING
        return value


def retry_bounds(policy: RetryPolicy, failures: int, error: Failure, retryable: bool) -> tuple[float, float] | None:
    """Between which waits the next attempt must lie; None: there is none."""
    if not retryable or error.type in policy.non_retryable or failures >= policy.max_attempts:
        return None
    wait = policy.initial_interval
    for _ in range(failures - 1):
        wait = wait * policy.backoff_coefficient
    wait = min(wait, policy.maximum_interval)
    return wait, wait * (1 + policy.jitter)
