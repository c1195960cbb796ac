"""`approval`: what it asks, and what a decision makes of it."""

from typing import Any

import msgspec
import pytest

from engine import limits
from engine.model import Answer, AwaitSignal, Failure
from engine.task_ports import NodeContext
from engine.verdicts import ApprovalRequest, Verdict
from tests.unit.nodes.harness import CATALOG, call_of, failure, faults, run

A, R = Verdict.APPROVED, Verdict.REJECTED
FORM = {"type": "object", "properties": {"limit": {"type": "number"}}, "required": ["limit"]}


async def asked(config: dict[str, Any]) -> AwaitSignal:
    outcome = await run("approval", config)
    assert isinstance(outcome, AwaitSignal)
    return outcome


def request_of(outcome: AwaitSignal) -> ApprovalRequest:
    assert outcome.ask is not None
    return msgspec.convert(outcome.ask.details, ApprovalRequest)


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ({}, "anybody"),
        ({"approvers": "anna"}, "anna"),
        ({"approvers": ["anna", "bert"], "roles": "finance"}, "anna, bert or the role finance"),
    ],
)
async def test_it_says_for_whom_it_waits(who: dict[str, Any], words: str) -> None:
    outcome = await asked(who)
    assert outcome.ask is not None
    assert (outcome.ask.kind, outcome.ask.reason) == ("approval", f"waits for approval by {words}")
    assert (outcome.timeout, outcome.otherwise) == (None, None)


async def test_what_is_asked_is_for_those_who_decide() -> None:
    outcome = await asked(
        {
            "title": "Refund",
            "message": "Refund 120 EUR?",
            "details": {"order": [1, 2]},
            "approvers": ["anna"],
            "form": FORM,
            "require_comment": "on_reject",
            "on_reject": "continue",
        }
    )
    request = ApprovalRequest(
        "Refund", "Refund 120 EUR?", {"order": [1, 2]}, ("anna",), (), FORM, "on_reject", "continue"
    )
    assert request_of(outcome) == request


@pytest.mark.parametrize("kind", ["approval", "human_approval", "manual_approval", "wait_for_approval", "approval@1"])
async def test_it_has_several_names(kind: str) -> None:
    assert isinstance(await run(kind, {}), AwaitSignal)


@pytest.mark.parametrize(
    ("spelled", "field"),
    [
        ({"assignees": ["anna"]}, {"approvers": ["anna"]}),
        ({"users": ["anna"], "role": "boss"}, {"approvers": ["anna"], "roles": "boss"}),
        ({"toRole": "boss", "formSchema": FORM}, {"roles": "boss", "form": FORM}),
        ({"timeout_seconds": 5, "onTimeout": "reject"}, {"timeout": 5, "on_timeout": "reject"}),
        ({"subject": "s", "description": "d", "data": 1}, {"title": "s", "message": "d", "details": 1}),
        ({"comment_required": True}, {"require_comment": True}),
    ],
)
def test_other_spellings_mean_the_same(spelled: dict[str, Any], field: dict[str, Any]) -> None:
    assert CATALOG.canonical("approval", spelled) == CATALOG.canonical("approval", field)
    assert faults("approval", spelled) == []


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"timeout": 0}, "/config/timeout"),
        ({"timeout": limits.DURATION + 1}, "/config/timeout"),
        ({"timeout": "soon"}, "/config/timeout"),
        ({"on_timeout": "escalate"}, "/config/on_timeout"),
        ({"on_reject": "ask again"}, "/config/on_reject"),
        ({"approvers": [1]}, "/config/approvers/0"),
        ({"roles": ""}, "/config/roles"),
        ({"require_comment": "always"}, "/config/require_comment"),
        ({"form": {"type": "nonsense"}}, "/config/form"),
        ({"form": []}, "/config/form"),
        ({"who": "anna"}, "/config/who"),
        ({"title": "x" * 201}, "/config/title"),
    ],
)
async def test_a_bad_config(config: dict[str, Any], where: str) -> None:
    assert faults("approval", config) == [where]
    assert (await failure("approval", config)).type == "invalid_config"


@pytest.mark.parametrize(("task", "config", "wait"), [(None, 60, 60.0), (30.0, None, 30.0), (30.0, 60, 60.0)])
async def test_without_a_time_out_of_its_own_it_has_that_of_its_task(
    task: float | None, config: float | None, wait: float
) -> None:
    call = call_of("approval", {} if config is None else {"timeout": config}, timeout=task)
    outcome = CATALOG.run(call, lambda: None, NodeContext(None, None))
    assert isinstance(outcome, AwaitSignal)
    assert outcome.timeout == wait


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"on_timeout": "approve"}, None),
        ({"on_timeout": "reject"}, Failure("rejected", "rejected: anna did not decide in time")),
        ({"on_timeout": "reject", "on_reject": "continue"}, None),
    ],
)
async def test_silence_may_count_as_a_decision(config: dict[str, Any], error: Failure | None) -> None:
    verdict = A if config["on_timeout"] == "approve" else R
    outcome = await asked({"timeout": 5, "approvers": "anna", **config})
    output = {"decision": verdict.value, "by": None, "comment": None, "data": None, "timed_out": True}
    assert outcome.otherwise == Answer(output, verdict.value, error)


# --- what may be decided ---


def test_a_decision_is_what_the_task_gets() -> None:
    request = ApprovalRequest()
    output = {"decision": "approved", "by": "anna", "comment": "fine", "data": [1], "timed_out": False}
    assert request.answer(A, "anna", "fine", [1]) == Answer(output, "approved")
    rejected = request.answer(R, "anna", "too much").error
    assert rejected == Failure("rejected", "rejected by anna: too much")
    assert request.answer(R).error == Failure("rejected", "rejected")
    assert ApprovalRequest(on_reject="continue").answer(R).error is None


@pytest.mark.parametrize(
    ("request_", "verdict", "by", "comment", "data", "pointers"),
    [
        (ApprovalRequest(), A, None, None, None, []),
        (ApprovalRequest(approvers=("anna",)), A, "anna", None, None, []),
        (ApprovalRequest(approvers=("anna",)), R, "bert", None, None, ["/by"]),
        (ApprovalRequest(approvers=("anna",)), A, None, None, None, ["/by"]),
        (ApprovalRequest(approvers=("anna",), roles=("boss",)), A, "bert", None, None, []),
        (ApprovalRequest(require_comment=True), A, None, " ", None, ["/comment"]),
        (ApprovalRequest(require_comment=True), A, None, "x", None, []),
        (ApprovalRequest(require_comment="on_reject"), A, None, None, None, []),
        (ApprovalRequest(require_comment="on_reject"), R, None, None, None, ["/comment"]),
        (ApprovalRequest(form=FORM), A, None, None, {"limit": 1.5}, []),
        (ApprovalRequest(form=FORM), A, None, None, None, ["/data"]),
        (ApprovalRequest(form=FORM), A, None, None, {"limit": "much"}, ["/data/limit"]),
        (ApprovalRequest(form=FORM), R, None, None, None, []),
        (ApprovalRequest(form=FORM), R, None, None, {"limit": "much"}, ["/data/limit"]),
        (
            ApprovalRequest(approvers=("anna",), form=FORM, require_comment=True),
            A,
            "bert",
            None,
            [],
            ["/by", "/comment", "/data"],
        ),
    ],
)
def test_what_is_wrong_with_a_decision(
    request_: ApprovalRequest, verdict: Verdict, by: str | None, comment: str | None, data: Any, pointers: list[str]
) -> None:
    assert [fault.pointer for fault in request_.faults(verdict, by, comment, data)] == pointers
