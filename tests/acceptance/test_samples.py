"""The samples of `workflows/`, registered at start and run against real services of this machine."""

import time
from typing import Any

import pytest

from demo.shop import NOBODY, PRODUCTS, REGIONS, SALES
from deploy.processes import ROOT
from proto.workflow.v1 import workflow_pb2 as pb
from tests.acceptance.serving import PATIENCE
from tests.acceptance.shop_world import World

ORDER = {"order_id": "A-1", "customer": "ada", "items": [{"sku": "lamp", "quantity": 2, "price": 40.0}]}


def test_each_file_is_registered_under_its_own_name(world: World) -> None:
    keys = {workflow["key"] for workflow in world.served.rest("GET", "/workflows/?limit=100")}
    assert keys >= {path.stem for path in (ROOT / "workflows").iterdir() if path.is_file()}
    assert world.served.rest("GET", "/health")["checks"]["workflows"] == "ok"


def test_a_small_order_needs_nobody_and_a_busy_bank_is_asked_again(world: World) -> None:
    execution = world.start("order-processing", {**ORDER, "shop": world.shop.url})
    assert world.ended(execution)["status"] == "completed"
    assert world.statuses(execution)["manager"] == "skipped"
    assert world.shop.did("payment refused") == world.shop.did("payments") == [{"order": "A-1", "amount": 80.0}]
    assert len(world.shop.did("parcels")) == 1


def test_a_large_order_waits_for_a_manager_who_answers_over_grpc(world: World) -> None:
    large = {**ORDER, "items": [{"sku": "table", "quantity": 3, "price": 900.0}], "shop": world.shop.url}
    execution = world.start("order-processing", large)
    world.waiting(execution)
    assert not world.shop.did("payments")
    decision = pb.DecideApprovalRequest(execution_id=execution, task="manager", decision="approved", by="eve")
    world.served.stub.DecideApproval(decision, timeout=30)
    assert world.ended(execution)["status"] == "completed"
    assert len(world.shop.did("payments")) == 1


def test_an_order_that_is_rejected_is_never_paid(world: World) -> None:
    large = {**ORDER, "items": [{"sku": "table", "quantity": 3, "price": 900.0}], "shop": world.shop.url}
    execution = world.start("order-processing", large)
    world.waiting(execution)
    done = world.served.cli("reject", str(execution), "manager", "--by", "eve", "--comment", "too much")
    assert done.code == 0, done.err
    view = world.ended(execution)
    assert (view["status"], view["error"]["type"]) == ("failed", "rejected")
    assert not world.shop.did("payments")


def test_a_payment_is_given_back_when_the_parcel_cannot_be_sent(world: World) -> None:
    execution = world.start("order-processing", {**ORDER, "customer": NOBODY, "shop": world.shop.url})
    view = world.ended(execution)
    assert (view["status"], view["error"]["task"]) == ("failed", "parcel")
    ((payment, why),) = [(body["payment"], body["because"]) for body in world.shop.did("refunds")]
    assert "422" in why
    assert payment
    assert world.statuses(execution)["charge"] == "completed"


@pytest.mark.parametrize(
    ("amount", "asked", "ends"),
    [
        (80, [], {"pay": "completed", "explain": "skipped", "manager": "skipped", "director": "skipped"}),
        (800, ["manager"], {"pay": "completed", "explain": "skipped", "director": "skipped"}),
        (8_000, ["manager", "director"], {"pay": "completed", "explain": "skipped", "director": "completed"}),
    ],
)
def test_an_expense_is_paid_when_all_who_must_have_agreed(
    world: World, amount: int, asked: list[str], ends: dict[str, str]
) -> None:
    people = {"employee": "ada", "manager": "anna", "director": "dora"}
    execution = world.start("expense-approval", {**people, "amount": amount, "reason": "a trip"})
    for who in asked:
        deadline = time.monotonic() + PATIENCE
        while world.statuses(execution)[who] != "waiting":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        world.approve(execution, who, by=people[who])
    assert world.ended(execution)["status"] == "completed"
    assert world.statuses(execution).items() >= ends.items()


def test_an_expense_that_the_manager_rejects_is_explained(world: World) -> None:
    people = {"employee": "ada", "manager": "anna", "director": "dora"}
    execution = world.start("expense-approval", {**people, "amount": 300, "reason": "a hat"})
    world.waiting(execution)
    decision = {"by": "anna", "comment": "not a work tool"}
    world.served.rest("POST", f"/executions/{execution}/tasks/manager/reject", decision)
    assert world.ended(execution)["status"] == "completed"
    assert world.statuses(execution) == {
        "size": "completed",
        "manager": "completed",
        "director": "skipped",
        "pay": "skipped",
        "explain": "completed",
    }


def test_a_file_of_sales_is_added_up_in_three_ways(world: World) -> None:
    execution = world.start("data-pipeline", {"source": f"{world.shop.url}/sales.csv"})
    view = world.ended(execution)
    assert view["status"] == "completed", view
    report = view["output"]["report"]
    assert report["rows"] + report["broken"] == SALES
    assert report["broken"] == SALES // 500
    assert set(report["regions"]) == set(REGIONS)
    assert len(report["months"]) == 12
    assert report["best"]["name"] in PRODUCTS
    assert sum(report["regions"].values()) == pytest.approx(sum(report["months"].values()))


def test_an_invoice_goes_through_its_steps(world: World) -> None:
    invoice = {"id": "I-7", "supplier": "Lamps Ltd", "shop": world.shop.url}
    small = world.start("invoice-approval", {**invoice, "amount": 120})
    assert world.ended(small)["status"] == "completed"
    large = world.start("invoice-approval", {**invoice, "amount": 1_200})
    world.waiting(large)
    world.approve(large, "approve", by="anna", data={"cost_center": 12})
    assert world.ended(large)["status"] == "completed"
    assert [body["amount"] for body in world.shop.did("payments")] == [120, 1_200]
    assert len(world.shop.did("archive")) == 2
    bad = world.ended(world.start("invoice-approval", {**invoice, "amount": 0}))
    assert (bad["status"], bad["error"]["type"]) == ("failed", "bad_invoice")


def test_a_letter_is_sorted_by_a_model_and_doubts_go_to_a_person(world: World) -> None:
    letter = {"from": "ada", "subject": "It is dark", "text": "My lamp does not burn."}
    world.models.reply = '{"category": "technical", "urgent": true, "confidence": 0.9}'
    sure = world.start("support-triage", letter)
    assert world.ended(sure)["status"] == "completed"
    ends = world.statuses(sure)
    assert (ends["check"], ends["engineers"], ends["accounting"]) == ("skipped", "completed", "skipped")
    world.models.reply = '{"category": "billing", "urgent": false, "confidence": 0.4}'
    unsure = world.start("support-triage", letter)
    world.waiting(unsure)
    world.approve(unsure, "check", by="sam")
    assert world.ended(unsure)["status"] == "completed"
    assert world.statuses(unsure)["accounting"] == "completed"


def test_a_hot_lead_is_told_and_won_when_it_answers(world: World) -> None:
    def emit(kind: str, **lead: Any) -> dict[str, Any]:
        answer: dict[str, Any] = world.served.rest("POST", f"/events?type={kind}", {"lead": lead})
        return answer

    assert not emit("lead.created", id=1, name="cold", score=10, title="CEO")["started"]
    (started,) = emit("lead.created", id=2, name="Hopper", score=95, title="CEO")["started"]
    execution = started["execution_id"]
    world.waiting(execution)
    assert not emit("lead.answered", id=1)["woken"]
    (woken,) = emit("lead.answered", id=2)["woken"]
    assert (woken["execution_id"], woken["task"]) == (execution, "answer")
    assert world.ended(execution)["status"] == "completed"
    ends = world.statuses(execution)
    assert (ends["tell-head"], ends["tell-sales"], ends["won"], ends["remind"]) == (
        "completed",
        "skipped",
        "completed",
        "skipped",
    )
