"""The audit after every run: what the journal says, what the doors serve, and what really ran must be one story."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from engine import events as ev
from engine.events import StoredEvent, decode
from engine.model import Failure
from engine.state import State, derived_status
from engine.states import TaskStatus, is_terminal
from engine.timers import replay
from tests.chaos.client import Client
from tests.chaos.history import History, Row, read
from tests.chaos.report import Outcome
from tests.chaos.world import World
from tests.ledger import Effect

LAST = (ev.ExecutionCompleted, ev.ExecutionFailed, ev.ExecutionCancelled)
_ENDS = (ev.TaskCompleted, ev.TaskSkipped, ev.TaskCancelled)


class _Served(msgspec.Struct):
    """What matters of a task as REST serves it."""

    key: str
    status: str
    attempt: int = 0
    output: object = None


class _Answer(msgspec.Struct):
    """What matters of an execution as REST serves it."""

    id: int
    status: str
    output: object = None
    error: Failure | None = None
    tasks: list[_Served] = []


async def audit(world: World, client: Client, outcome: Outcome, accepted: Iterable[int]) -> History:
    """Adds what is wrong to `outcome`. Everything that was accepted must be there and must have ended."""
    history = read(world.database_url)
    missing = set(accepted) - history.executions.keys()
    outcome.lost += len(missing)
    outcome.problems += [f"execution {number} was accepted and is not there" for number in sorted(missing)]
    for row in history.executions.values():
        _check_execution(row, history, outcome)
    _check_effects(history, world.ledger.effects(), outcome)
    await _check_served(client, history, outcome)
    return history


# --- the journal ---


def _check_execution(row: Row, history: History, outcome: Outcome) -> None:
    stored = history.events.get(row.id, [])
    where = f"execution {row.id}"
    if [event.seq for event in stored] != list(range(1, len(stored) + 1)):
        outcome.problems.append(f"{where}: its seq is not contiguous: {[event.seq for event in stored]}")
    if not stored or stored[0].type != "ExecutionStarted":
        outcome.problems.append(f"{where}: its first event is not ExecutionStarted")
        outcome.lost += 1
        return
    if not is_terminal(row.status):
        outcome.lost += 1
        ending = ", ".join(f"{event.seq} {event.type}" for event in stored[-3:])
        outcome.problems.append(f"{where} is {row.status}, owner {row.owner}; its last events: {ending}")
    _check_clock(where, stored, outcome)
    events = [decode(event) for event in stored]
    lasts = [event for event in events if isinstance(event, LAST)]
    if len(lasts) > 1:
        outcome.double += 1
        outcome.problems.append(f"{where} has {len(lasts)} last records")
    if is_terminal(row.status) and (len(lasts) != 1 or events[-1] is not lasts[0]):
        outcome.problems.append(f"{where} is {row.status} and its last event is {stored[-1].type}")
    _check_tasks(where, events, outcome)
    _check_timers(where, stored, events, outcome)


def _check_clock(where: str, stored: list[StoredEvent], outcome: Outcome) -> None:
    """The database's clock never goes back."""
    times = [event.at for event in stored]
    if times != sorted(times):
        outcome.problems.append(f"{where}: the times of its events go back")


def _check_tasks(where: str, events: list[ev.Event], outcome: Outcome) -> None:
    """At most one completion; nothing after the end; attempts counted from 1; started before completed."""
    completed: Counter[str] = Counter()
    attempts: Counter[str] = Counter()
    ended: set[str] = set()
    for event in events:
        key = getattr(event, "task", None)
        if key is None:
            continue
        if key in ended:
            outcome.problems.append(f"{where}: {type(event).__name__} of {key} after its end")
        if isinstance(event, ev.TaskStarted):
            attempts[key] += 1
            if event.attempt != attempts[key]:
                outcome.problems.append(f"{where}: attempt {event.attempt} of {key} follows {attempts[key] - 1}")
        if isinstance(event, ev.TaskCompleted):
            completed[key] += 1
            if not attempts[key]:
                outcome.problems.append(f"{where}: {key} was completed and never started")
        if isinstance(event, _ENDS) or (isinstance(event, ev.TaskFailed) and event.retry_in is None):
            ended.add(key)
    doubles = [key for key, count in completed.items() if count > 1]
    outcome.double += len(doubles)
    outcome.problems += [f"{where}: {key} was completed {completed[key]} times" for key in doubles]


def _check_timers(where: str, stored: list[StoredEvent], events: list[ev.Event], outcome: Outcome) -> None:
    """No timer fires before its time, by the database's clock."""
    due: dict[str, float] = {}
    for row, event in zip(stored, events, strict=True):
        match event:
            case ev.TaskSleeping(task=key, until=float() as until):
                due[key] = until
            case ev.TaskSleeping(task=key, seconds=seconds) | ev.TaskFailed(task=key, retry_in=float() as seconds):
                due[key] = row.at + seconds
            case ev.TaskCompleted(task=key) | ev.TaskStarted(task=key) if key in due:
                early = due.pop(key) - row.at
                if early > 1e-6:
                    outcome.note("early")
                    outcome.problems.append(f"{where}: {key} went on {early:.6f} s before its time")
            case _:
                pass


# --- what really ran ---


def _check_effects(history: History, effects: list[Effect], outcome: Outcome) -> None:
    starts: dict[tuple[int, str], list[float]] = {}
    completions: dict[tuple[int, str], float] = {}
    for stored in history.events.values():
        for row in stored:
            if row.type in ("TaskStarted", "TaskCompleted"):
                key = row.execution_id, str(msgspec.json.decode(row.data)["task"])
                if row.type == "TaskStarted":
                    starts.setdefault(key, []).append(row.at)
                else:
                    completions.setdefault(key, row.at)
    seen: Counter[tuple[int, str]] = Counter()
    for effect in effects:
        place = effect.execution, effect.task
        seen[place] += 1
        _check_effect(effect, seen[place], starts.get(place, []), completions.get(place), outcome)
    outcome.note("effects", len(effects))
    outcome.note("effects again", sum(count - 1 for count in seen.values()))
    _check_silence(history, completions, seen, outcome)


def _check_effect(effect: Effect, number: int, starts: list[float], completed: float | None, outcome: Outcome) -> None:
    where = f"execution {effect.execution}: {effect.task}"
    if completed is not None and effect.time > completed:
        outcome.rerun += 1
        outcome.problems.append(f"{where} ran again {effect.time - completed:.3f} s after its completion")
    begun = sum(1 for at in starts if at <= effect.time)
    if begun < number:
        outcome.note("untraced")
        outcome.problems.append(f"{where}: effect {number} began with {begun} attempts in the journal")


def _check_silence(
    history: History, completions: dict[tuple[int, str], float], seen: Counter[tuple[int, str]], outcome: Outcome
) -> None:
    """A completed call really was made."""
    for execution, task in completions:
        vertex = history.graphs[history.executions[execution].version_id].by_key[task]
        if vertex.task.type == "http_request" and not seen[execution, task]:
            outcome.problems.append(f"execution {execution}: {task} is completed and never called")


# --- what the doors serve ---


async def _check_served(client: Client, history: History, outcome: Outcome) -> None:
    for row in history.executions.values():
        state = State(row.id, history.graphs[row.version_id])
        replay(state, history.events.get(row.id, []))
        content = await client.rest("GET", f"/executions/{row.id}")
        _compare(row, state, msgspec.convert(content, _Answer), outcome)


def _compare(row: Row, state: State, served: _Answer, outcome: Outcome) -> None:
    where = f"execution {row.id}"
    status = derived_status(state)
    if not status == row.status == served.status:
        outcome.problems.append(f"{where}: journal {status}, row {row.status}, served {served.status}")
    if is_terminal(status) and (state.output(), state.error) != (served.output, served.error):
        outcome.problems.append(f"{where}: output or error is not served as the journal has it")
    for task in served.tasks:
        known = state.tasks.get(task.key)
        if known is None:
            wanted = TaskStatus.SKIPPED if is_terminal(status) else TaskStatus.PENDING
            if task.status != wanted:
                outcome.problems.append(f"{where}: {task.key} is not in the journal and served as {task.status}")
            continue
        output = known.output if known.status is TaskStatus.COMPLETED else None
        if (known.status, known.attempt, output) != (task.status, task.attempt, task.output):
            outcome.problems.append(f"{where}: {task.key} is not served as the journal has it")
