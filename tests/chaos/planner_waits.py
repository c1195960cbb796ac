"""The waits of one execution that the world can see, as a database would hold them: one row, one decision.

They are checked against the twin: what is open in the rows is what waits in the history, or has an answer on its way.
"""

import random
from collections.abc import Mapping

import msgspec

from engine import events as ev
from engine.model import Answer, Ask, AwaitSignal, Budget, Failure
from engine.ports import Append, Signal
from engine.states import TaskStatus as T
from engine.waits import Lapse, signal_name
from tests.chaos.planner_twin import History

ASK = Ask("approval", "waits for somebody", "topic", {"who": ["anna"]})
ANSWERS = (
    Answer({"v": True}, "yes"),
    Answer({"v": False}, "no", Failure("rejected", "rejected by anna")),
    Answer({"v": 1}, "other"),
    Answer(None),
)


RAISES = Answer({"v": 2}, "yes", raised=Budget(tokens=5))
"""More budget: the task begins again, and must not ask again."""


def random_wait(rnd: random.Random) -> AwaitSignal:
    """A wait for a person."""
    return AwaitSignal("", rnd.choice((None, 0.0, 2.0, 8.0)), ASK, rnd.choice((None, *ANSWERS)))


class Waits:
    """By task: what was decided, or None."""

    def __init__(self) -> None:
        self.rows: dict[str, str | None] = {}

    def open(self) -> list[str]:
        """The tasks that somebody may answer."""
        return [task for task, decision in self.rows.items() if decision is None]

    def refuses(self, append: Append) -> bool:
        """Whether the append says that the time of a wait is over which somebody has ended."""
        return any(end.lapse is Lapse.TIMEOUT and self.rows[end.task] is not None for end in append.lapses)

    def decide(self, task: str, number: int, execution_id: int, answer: Answer) -> Signal:
        """The answer, on its way to the owner of the execution."""
        assert self.rows[task] is None
        self.rows[task] = "decided"
        return Signal(execution_id, "answer", signal_name(task), msgspec.json.encode(answer), None, number)

    def commit(self, append: Append) -> None:
        """What an append says of them."""
        for ask in append.asks:
            assert ask.task not in self.rows, "a task asks twice"
            self.rows[ask.task] = None
        for end in append.lapses:
            if self.rows[end.task] is None:
                self.rows[end.task] = end.lapse.value
            else:
                assert end.lapse is Lapse.CLOSED

    def check(self, history: History, inbox: Mapping[int, Signal], *, ended: bool) -> None:
        """The rows say what the history says."""
        asking = {
            key
            for key in history.keys
            if any(isinstance(last, ev.TaskAwaiting) and last.kind is not None for last in history.own(key)[-1:])
        }
        answered = {signal.name for signal in inbox.values() if signal.kind == "answer"}
        still = {task for task in asking if signal_name(task) not in answered}
        assert set(self.open()) == (set() if ended else still), "the rows and the history differ"


def check_end(history: History, event: ev.TaskCompleted | ev.TaskFailed, due: float | None, now: float) -> bool:
    """Whether the end of a wait is that of one that the world can see; it must then be what was answered."""
    asked = history.own(event.task)[-1]
    if not isinstance(asked, ev.TaskAwaiting) or asked.kind is None:
        return False
    assert history.status(event.task) is T.WAITING
    came = history.mail(asked.name)
    answer = msgspec.convert(came[0], Answer) if came else asked.otherwise
    assert answer is None or answer.raised is None, "a wait ended that was given more budget"
    if not came:
        assert due is not None
        assert due <= now, "a wait ended early"
    _check_answer(history, event, answer)
    return True


def check_raise(history: History, event: ev.BudgetRaised) -> None:
    """More budget is given by an answer, to who waits for it."""
    assert history.status(event.task) is T.WAITING
    name = history.waits_for(event.task)
    assert name is not None
    answer = msgspec.convert(history.mail(name)[0], Answer)
    assert answer.raised == Budget(event.cost, event.tokens)


def asks_again(history: History, key: str, given: object) -> bool:
    """Whether an outcome is refused because its task was given more budget once."""
    asks = isinstance(given, AwaitSignal) and given.ask is not None
    return asks and any(isinstance(event, ev.BudgetRaised) for event in history.own(key))


def _check_answer(history: History, event: ev.TaskCompleted | ev.TaskFailed, answer: Answer | None) -> None:
    if answer is None:
        assert isinstance(event, ev.TaskFailed)
        assert event.error.type == "timeout"
        return
    labels = {edge.label for edge in history.graph.edges if edge.source == event.task} - {None, "@error"}
    if answer.error is not None and answer.label not in labels:
        assert isinstance(event, ev.TaskFailed)
        assert event.error == Failure(answer.error.type, answer.error.message, event.task)
        return
    label = answer.label if answer.label in labels or not labels else None
    lost = history.lost_way(event.task, label)
    if lost is not None:
        assert isinstance(event, ev.TaskFailed)
        assert event.error.type == lost
    else:
        assert isinstance(event, ev.TaskCompleted)
        assert (event.output, event.label) == (answer.output, label)
