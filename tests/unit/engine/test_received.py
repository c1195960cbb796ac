"""What tasks publish, which triggers hold, and rules about what is to come: without a store."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from engine import events as ev
from engine import limits
from engine.documents import digest
from engine.errors import TaskError
from engine.expressions.scope import Named
from engine.matching import Matching
from engine.model import Ask, AwaitSignal, Completed, Failed, Publication, Result
from engine.opening import opened
from engine.outcomes import portable, record_of, wait_of
from engine.received import EventWait, NewReceived, ReceivedEvent, Trigger, TriggerSpec, WokenByEvent, is_event_type
from engine.rendering import RULE, VALUES, compile_config, compile_rule
from engine.trials import TrialScope
from engine.triggers import EventScope, holds, trigger_faults
from engine.waits import Decision

# --- publications ---

ONE = Publication("lead.won", {"who": (1, "é")}, "key")


def test_a_publication_is_stored_with_the_event_that_completes() -> None:
    event, record = record_of("t", Completed("x", publish=(ONE, Publication("b"))), 0.0, 3)
    assert event == ev.TaskCompleted("t", "x")
    payload = {"who": [1, "é"]}
    assert record.publishes == (
        NewReceived("lead.won", msgspec.json.encode(payload), "key", digest(["lead.won", payload]), 4),
        NewReceived("b", b"null", None, digest(["b", None]), 4),
    )
    assert record_of("t", Completed("x"), 0.0)[1].publishes == ()


def test_a_publication_travels() -> None:
    plain = portable("t", Completed("x", "l", (ONE,)), 0.0)
    assert plain == Completed("x", "l", (Publication("lead.won", {"who": [1, "é"]}, "key"),))
    assert msgspec.json.decode(msgspec.json.encode(plain), type=Result) == plain


@pytest.mark.parametrize(
    ("publish", "kind"),
    [
        (("a",), "bad_outcome"),
        ("a", "bad_outcome"),
        ((Publication("a b"),), "bad_event_type"),
        ((Publication(""),), "bad_event_type"),
        ((Publication(5),), "bad_event_type"),  # type: ignore[arg-type]
        ((Publication("a", object()),), "bad_output"),
        ((Publication("a", float("nan")),), "bad_output"),
        ((Publication("a", key=""),), "bad_outcome"),
        ((Publication("a", key="k" * 256),), "bad_outcome"),
        ((Publication("a", key="\0"),), "bad_outcome"),
        ((Publication("a", "x" * limits.PAYLOAD),), "payload_too_large"),
    ],
)
def test_what_cannot_be_published_fails_its_task(publish: Any, kind: str) -> None:
    with pytest.raises(TaskError) as caught:
        record_of("t", Completed(publish=publish), 0.0)
    assert (caught.value.type, caught.value.retryable) == (kind, False)
    if kind != "payload_too_large":
        result = portable("t", Completed(publish=publish), 0.0)
        assert isinstance(result, Failed)
        assert result.error.type == kind


def test_a_chain_of_events_has_an_end() -> None:
    outcome = Completed(publish=(ONE,))
    assert record_of("t", outcome, 0.0, limits.EVENT_CHAIN - 1)[1].publishes[0].depth == limits.EVENT_CHAIN
    with pytest.raises(TaskError, match=r"'lead\.won'") as caught:
        record_of("t", outcome, 0.0, limits.EVENT_CHAIN)
    assert (caught.value.type, caught.value.retryable) == ("event_loop", False)


def test_a_look_back_is_part_of_what_a_wait_asks() -> None:
    outcome = AwaitSignal(ask=Ask("event", "why", "paid", {"a": 1}, 60))
    event, _ = record_of("t", outcome, 0.0)
    assert isinstance(event, ev.TaskAwaiting)
    wait = wait_of(event, outcome)
    assert wait is not None
    assert (wait.topic, wait.lookback) == ("paid", 60.0)
    assert portable("t", outcome, 0.0) == AwaitSignal("@t", None, Ask("event", "why", "paid", {"a": 1}, 60.0))
    with pytest.raises(TaskError, match=r"Ask\.lookback"):
        record_of("t", AwaitSignal(ask=Ask("event", lookback=-1)), 0.0)


# --- triggers ---


@pytest.mark.parametrize("word", ["a", "a.b-c_d/e:f", "A1", "x" * limits.NAME])
def test_a_type_of_events(word: str) -> None:
    assert is_event_type(word)


@pytest.mark.parametrize("word", ["", "*", ".a", "a b", "a\n", "é", "x" * (limits.NAME + 1), 5, None])
def test_what_is_no_type_of_events(word: Any) -> None:
    assert not is_event_type(word)


def held(condition: Any, payload: Any) -> bool:
    assert trigger_faults(TriggerSpec("a", condition)) == []
    return holds(Trigger(1, 1, "a", condition, True, False, 0.0, 0.0), EventScope(payload, 1_800_000_000.0))


@pytest.mark.parametrize(
    ("condition", "payload", "expected"),
    [
        (True, None, True),
        (False, {}, False),
        ({">": [{"var": "lead.score"}, 80]}, {"lead": {"score": 90}}, True),
        ({">": [{"var": "lead.score"}, 80]}, {"lead": {}}, False),
        ({">": [{"var": "lead.score"}, 80]}, "text", False),
        ({"==": [{"var": "payload.x"}, 1]}, {"payload": {"x": 1}}, True),
        ("{{payload.lead.score}} > 80", {"lead": {"score": 90}}, True),
        ("default(input.x, 0) == 0", {}, True),
        ({"<": [{"var": "now"}, "2028"]}, {}, True),
        ({}, {}, True),
        ({"var": "flag"}, {"flag": "no"}, False),
    ],
)
def test_a_condition_holds_or_not(condition: Any, payload: Any, expected: bool) -> None:
    assert held(condition, payload) is expected


def test_a_condition_that_cannot_be_evaluated_fails() -> None:
    with pytest.raises(TaskError, match=r"a\.b"):
        held("{{input.a.b}} > 1", {})


# --- rules ---


def rendered(rule: Any, given: Any) -> dict[str, Any]:
    template, faults = compile_config({"filter": rule}, [f"{RULE}/filter"])
    assert faults == []
    config: dict[str, Any] = template.render(TrialScope(given, {}, 0.0))
    found: dict[str, Any] = config["filter"]
    return found


def test_the_templates_of_a_rule_are_rendered_apart() -> None:
    rule = {"and": [{"==": [{"var": "a"}, "{{input.x}}"]}, {"in": [{"var": "b"}, ["c", "n{{input.y}}"]]}]}
    assert rendered(rule, {"x": {"var": "a"}, "y": 2}) == {
        "rule": {"and": [{"==": [{"var": "a"}, {"var": "@.0"}]}, {"in": [{"var": "b"}, ["c", {"var": "@.1"}]]}]},
        "values": [{"var": "a"}, "n2"],
    }
    assert rendered(True, {}) == {"rule": True, "values": []}


def test_a_rule_looks_at_what_comes_and_at_its_values() -> None:
    found = rendered({"map": [{"var": "items"}, {"+": [{"var": ""}, "{{input.x}}"]}]}, {"x": 10})
    template = compile_rule_again(found["rule"])
    assert template.render(Named(EventScope({"items": [1, 2]}, 0.0), {VALUES: found["values"]})) == [11, 12]


def compile_rule_again(rule: Any) -> Any:
    from engine.expressions.templates import compile_logic

    template, faults = compile_logic(rule, names={VALUES})
    assert faults == []
    return template


@pytest.mark.parametrize(
    ("rule", "pointers"),
    [
        ("{{input.x}}", ["/f"]),
        (["a"], ["/f"]),
        ({"nope": 1}, ["/f/nope"]),
        ({"==": [{"var": "tasks.a.output"}, 1]}, ["/f/==/0/var"]),
        ({"==": [{"var": "secrets.a"}, 1]}, ["/f/==/0/var"]),
        ({"==": ["{{input.}}", {"nope": 1}]}, ["/f/==/0", "/f/==/1/nope"]),
    ],
)
def test_faults_of_a_rule_have_their_places(rule: Any, pointers: list[str]) -> None:
    assert [fault.pointer for fault in compile_rule(rule, "/f")[1]] == pointers


def test_a_rule_needs_the_tasks_of_its_templates() -> None:
    template, _ = compile_rule({"==": [{"var": "a"}, "{{tasks.before.output.x}}"]})
    assert set(template.references) == {"before"}


# --- secrets ---


def test_a_secret_is_masked_in_what_is_published() -> None:
    from engine.model import Envelope, TaskCall
    from engine.task_ports import NodeContext

    class Vault:
        def open(self, namespace: str, envelope: Envelope) -> str:
            return "s3cr3t-value"

    sealed = {"k": Envelope("k", "k1", b"", b"")}
    call = TaskCall(1, "a", "x", {"x": "\0secret:k\0"}, secrets=sealed)

    def attempt(call: TaskCall, context: NodeContext) -> Completed:
        return Completed(call.config, publish=(Publication("a", [call.config["x"]], call.config["x"]),))

    outcome = opened(call, NodeContext(None, None, vault=Vault()), attempt, blocking=True)
    assert isinstance(outcome, Completed)
    assert outcome.publish == (Publication("a", ["•••"], "•••"),)


class Waits:
    """Of a store: notes how many waits each transaction has decided."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.open = [EventWait(number, number, "a", "big", b"{}") for number in range(1, 11)]

    async def waits_for(self, namespace: str, event: str, after: int, limit: int) -> list[EventWait]:
        return [wait for wait in self.open if wait.id > after][:limit]

    async def woken_by(self, by: str, limit: int) -> tuple[list[WokenByEvent], int]:
        return [WokenByEvent(wait.execution_id, wait.task) for wait in self.open][:limit], len(self.open)

    async def decide_waits(self, decisions: Sequence[Decision]) -> list[bool]:
        self.sizes.append(len(decisions))
        return [True] * len(decisions)


@pytest.mark.parametrize(("size", "sizes"), [(10, [10]), (1_048_570, [4, 4, 2])])
async def test_a_large_payload_is_not_copied_for_all_at_once(size: int, sizes: list[int]) -> None:
    waits, told = Waits(), list[tuple[int, ...]]()
    store: Any = waits
    event = ReceivedEvent(1, "big", msgspec.json.encode("x" * size), None, b"", 0, 0.0, None, None)
    woken = await Matching(store, store, told.append).wake(event, EventScope("x" * size, 0.0))
    assert (waits.sizes, woken) == (sizes, ([WokenByEvent(wait.execution_id, "a") for wait in waits.open], 10))
    assert [number for some in told for number in some] == list(range(1, 11))
