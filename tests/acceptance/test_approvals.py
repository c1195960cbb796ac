"""An execution that waits for a person: asked, decided once, through every door, whatever dies meanwhile."""

import asyncio
import json
import re
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from api.app import build
from bootstrap.settings import Settings
from bootstrap.wiring import open_service
from deploy.processes import ROOT
from proto.workflow.v1 import workflow_pb2 as pb
from tests.acceptance.serving import Served, connected, process
from tests.rest import Answer, Rest

FORM = {"type": "object", "properties": {"limit": {"type": "number"}}, "required": ["limit"]}
EXPENSES = """
name: expenses
key: expenses
tasks:
  - id: manager
    type: human_approval
    config:
      title: "{{input.what}}"
      message: May this be paid?
      details: {amount: "{{input.amount}}"}
      approvers: [anna, bert]
  - id: pay
    type: set
    config: {paid: "{{tasks.manager.output.by}}"}
    depends_on: [{task: manager, label: approved}]
  - id: refuse
    type: set
    config: {why: "{{tasks.manager.output.comment}}"}
    depends_on: [{task: manager, label: rejected}]
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "migrated_postgres_url")
    return url


class Door(Rest):
    """The REST door, and the service behind it."""

    def __init__(self, service: Any) -> None:
        super().__init__(build(service))
        self.service = service

    async def start(self, **config: Any) -> int:
        """An execution that waits for approval in its one task `ask`."""
        task = {"id": "ask", "type": "approval", "config": config}
        return await self.start_document({"name": "w", "tasks": [task]})

    async def start_document(self, document: Any, **value: Any) -> int:
        made = await self.post("/workflows/", document)
        assert made.status == 201, made.body
        started = await self.post(f"/workflows/{made.json()['id']}/execute", {"input": value})
        number: int = started.json()["execution_id"]
        await self.until(number, "waiting")
        return number

    async def until(self, number: int, *statuses: str) -> Any:
        async with asyncio.timeout(20):
            while (execution := (await self.get(f"/executions/{number}")).json())["status"] not in statuses:
                await asyncio.sleep(0.01)
        return execution

    async def ended(self, number: int) -> Any:
        return await self.until(number, "completed", "failed", "cancelled")

    async def decide(self, number: int, verdict: str = "approve", task: str = "ask", **body: Any) -> Answer:
        return await self.post(f"/executions/{number}/tasks/{task}/{verdict}", body)


@pytest.fixture
async def door(store_url: str) -> AsyncIterator[Door]:
    async with open_service(Settings(database_url=store_url, lease_seconds=0.5), engine=True) as service:
        yield Door(service)


async def test_the_documented_story(door: Door) -> None:
    made = await door.post("/workflows/", EXPENSES.encode(), content_type="application/yaml")
    assert made.status == 201, made.body
    started = await door.post("/workflows/expenses/execute", {"input": {"what": "A chair", "amount": 120}})
    number = started.json()["execution_id"]
    execution = await door.until(number, "waiting")
    task = execution["tasks"][0]
    assert (task["status"], task["reason"]) == ("waiting", "waits for approval by anna or bert")
    assert door.service._worker.runs == {}, "it costs no memory"
    (asked,) = (await door.get("/approvals?status=pending")).json()["items"]
    assert (asked["title"], asked["message"], asked["details"]) == ("A chair", "May this be paid?", {"amount": 120})
    assert (asked["execution_id"], asked["task"], asked["approvers"]) == (number, "manager", ["anna", "bert"])

    decided = await door.decide(number, task="manager", by="anna", comment="it is broken")
    assert decided.status == 200
    answer = decided.json()
    assert (answer["status"], answer["decided_by"], answer["comment"]) == ("approved", "anna", "it is broken")
    assert answer["decided_at"] >= answer["requested_at"]
    execution = await door.ended(number)
    assert execution["output"] == {"pay": {"paid": "anna"}}
    runs = {task["key"]: task for task in execution["tasks"]}
    assert runs["manager"]["output"] == {
        "decision": "approved",
        "by": "anna",
        "comment": "it is broken",
        "data": None,
        "timed_out": False,
    }
    assert (runs["manager"]["label"], runs["manager"]["reason"]) == ("approved", None)
    assert runs["refuse"]["status"] == "skipped"
    assert (await door.get("/approvals?status=pending")).json()["items"] == []
    assert (await door.get(f"/executions/{number}/approvals")).json() == [answer]
    assert (await door.get(f"/approvals/{answer['id']}")).json() == answer


async def test_the_example_of_the_docs_is_valid(door: Door) -> None:
    (document,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/approvals.md").read_text(), re.DOTALL)
    report = (await door.post("/workflows/validate", document.encode(), content_type="application/yaml")).json()
    assert (report["valid"], report["errors"], report["warnings"]) == (True, [], [])


async def test_a_rejection_follows_its_own_edge(door: Door) -> None:
    await door.post("/workflows/", EXPENSES.encode(), content_type="application/yaml")
    started = await door.post("/workflows/expenses/execute", {"input": {"what": "A boat", "amount": 1}})
    number = started.json()["execution_id"]
    await door.until(number, "waiting")
    assert (await door.decide(number, "reject", "manager", by="bert", comment="no")).status == 200
    assert (await door.ended(number))["output"] == {"refuse": {"why": "no"}}


async def test_a_rejection_without_an_edge_fails_or_goes_on(door: Door) -> None:
    failing, going = await door.start(), await door.start(on_reject="continue")
    for number in (failing, going):
        assert (await door.decide(number, "reject", by="anna", comment="too much")).status == 200
    execution = await door.ended(failing)
    assert execution["error"] == {"type": "rejected", "message": "rejected by anna: too much", "task": "ask"}
    execution = await door.ended(going)
    assert (execution["status"], execution["output"]["ask"]["decision"]) == ("completed", "rejected")


async def test_of_twenty_at_once_one_decides(door: Door) -> None:
    number = await door.start()
    verdicts = [("approve", "reject")[n % 2] for n in range(20)]
    answers = await asyncio.gather(*(door.decide(number, v, by=f"p{n}") for n, v in enumerate(verdicts)))
    winners = [n for n, answer in enumerate(answers) if answer.status == 200]
    assert len(winners) == 1
    losers = [answer for answer in answers if answer.status != 200]
    assert {(answer.status, answer.code) for answer in losers} == {(409, "already_decided")}
    (winner,) = winners
    word = {"approve": "approved", "reject": "rejected"}[verdicts[winner]]
    assert all(f"was {word} by p{winner} at 20" in answer.json()["detail"] for answer in losers)
    execution = await door.ended(number)
    assert execution["status"] == ("completed" if word == "approved" else "failed")


@pytest.mark.parametrize("on_timeout", ["fail", "approve", "reject"])
async def test_what_nobody_decides_in_time(door: Door, on_timeout: str) -> None:
    number = await door.start(timeout=0.2, on_timeout=on_timeout)
    (asked,) = (await door.get(f"/executions/{number}/approvals")).json()
    assert asked["due_at"] > asked["requested_at"]
    execution = await door.ended(number)
    (task,) = execution["tasks"]
    if on_timeout == "approve":
        assert (task["output"]["decision"], task["output"]["timed_out"]) == ("approved", True)
    else:
        assert task["error"]["type"] == {"fail": "timeout", "reject": "rejected"}[on_timeout]
    late = await door.decide(number)
    assert (late.status, late.code) == (409, "already_decided")
    assert "by its time-out" in late.json()["detail"]
    assert (await door.get("/approvals?status=timeout")).json()["items"][0]["execution_id"] == number


async def test_a_decision_at_the_edge_of_its_time_out(door: Door) -> None:
    """Whoever wins: the row, the answer and the journal say the same."""
    won = 0
    for turn in range(8):
        number = await door.start(timeout=0.3)
        await asyncio.sleep(0.22 + turn / 50)
        answer = await door.decide(number, by="anna")
        execution = await door.ended(number)
        (asked,) = (await door.get(f"/executions/{number}/approvals")).json()
        assert answer.status in (200, 409)
        won += answer.status == 200
        if answer.status == 200:
            assert (execution["status"], asked["status"]) == ("completed", "approved")
        else:
            assert (execution["status"], asked["status"]) == ("failed", "timeout")
    assert won < 8


async def test_what_does_not_fit_is_refused_and_nothing_is_decided(door: Door) -> None:
    number = await door.start(approvers=["anna"], form=FORM, require_comment=True)
    bad = await door.decide(number, by="bert", data={"limit": "much"})
    assert (bad.status, bad.pointers) == (422, ["/by", "/comment", "/data/limit"])
    for body in ({"by": ""}, {"by": "x" * 201}, {"by": 1}, {"comment": "x" * 10_001}, {"who": "anna"}):
        assert (await door.post(f"/executions/{number}/tasks/ask/approve", body)).status == 422
    (asked,) = (await door.get(f"/executions/{number}/approvals")).json()
    assert (asked["status"], asked["form"], asked["require_comment"]) == ("pending", FORM, True)
    good = {"decision": "approved", "by": "anna", "comment": "as planned", "data": {"limit": 7}}
    assert (await door.post(f"/approvals/{asked['id']}/decision", {**good, "decision": "maybe"})).status == 422
    assert (await door.post(f"/approvals/{asked['id']}/decision", good)).status == 200
    assert (await door.ended(number))["output"]["ask"]["data"] == {"limit": 7}


async def test_what_is_not_there_cannot_be_decided(door: Door) -> None:
    number = await door.start()
    assert (await door.decide(number, task="other")).code == "approval_not_found"
    assert (await door.decide(4711)).code == "execution_not_found"
    assert (await door.get("/executions/4711/approvals")).code == "execution_not_found"
    assert (await door.get("/approvals/4711")).code == (await door.get("/approvals/x")).code == "approval_not_found"
    assert (await door.get("/approvals?status=open")).code == "enum"
    assert (await door.post(f"/executions/{number}/signals/@ask", {"label": "approved"})).pointers == ["/name"]
    await door.post(f"/executions/{number}/cancel")
    assert (await door.decide(number)).code == "already_ended"
    assert (await door.decide(number, task="other")).code == "already_ended"
    (closed,) = (await door.get("/approvals?status=closed")).json()["items"]
    assert closed["execution_id"] == number


async def test_two_that_ask_are_decided_apart(door: Door) -> None:
    tasks = [{"id": key, "type": "approval"} for key in ("first", "second")]
    number = await door.start_document({"name": "w", "tasks": tasks})
    assert (await door.decide(number, task="second", by="bert")).status == 200
    execution = await door.until(number, "waiting")
    runs = {task["key"]: task["status"] for task in execution["tasks"]}
    while runs["second"] != "completed":
        runs = {task["key"]: task["status"] for task in (await door.get(f"/executions/{number}")).json()["tasks"]}
    assert runs["first"] == "waiting"
    assert (await door.decide(number, task="first", by="anna")).status == 200
    output = (await door.ended(number))["output"]
    assert (output["first"]["by"], output["second"]["by"]) == ("anna", "bert")


async def test_approvals_are_pages_newest_first(door: Door) -> None:
    numbers = [await door.start() for _ in range(5)]
    seen: list[int] = []
    path = "/approvals?status=pending&limit=2"
    while path:
        answer = await door.get(path)
        seen += [approval["execution_id"] for approval in answer.json()["items"]]
        path = answer.headers["link"].partition("<")[2].partition(">")[0] if "link" in answer.headers else ""
    assert seen == numbers[::-1]


# --- gRPC and the command line, over a running server ---


def waiting(served: Served, **config: Any) -> int:
    workflow = served.workflow({"key": "ask", "type": "approval", "parameters": config})
    number: int = served.execute(workflow).execution_id
    until(served, number, "waiting")
    return number


def until(served: Served, number: int, status: str) -> pb.WorkflowStatusResponse:
    request = pb.GetWorkflowStatusRequest(execution_id=number, wait_seconds=0.1)
    deadline = time.monotonic() + 30
    while True:
        view: pb.WorkflowStatusResponse = served.stub.GetWorkflowStatus(request, timeout=30)
        if view.status == status:
            return view
        assert time.monotonic() < deadline, view


def test_a_decision_over_grpc(served: Served) -> None:
    number = waiting(served, title="Pay?", approvers=["anna"], form=FORM, details=[1])
    (asked,) = served.stub.ListApprovals(pb.ListApprovalsRequest(execution_id=number)).approvals
    assert (asked.title, asked.status, list(asked.approvers), asked.task) == ("Pay?", "pending", ["anna"], "ask")
    assert (json.loads(asked.form_json), asked.details_json, asked.require_comment) == (FORM, "[1]", "never")
    request = pb.DecideApprovalRequest(execution_id=number, decision="approved", by="anna", comment="ok")
    request.data.struct_value.update({"limit": 2.5})
    decided = served.stub.DecideApproval(request).approval
    assert (decided.status, decided.decided_by, decided.comment) == ("approved", "anna", "ok")
    assert decided.decided_at.endswith("Z")
    output = json.loads(until(served, number, "completed").output_json)["ask"]
    assert (output["decision"], output["data"]) == ("approved", {"limit": 2.5})
    request = pb.DecideApprovalRequest(approval_id=asked.approval_id, decision="rejected", by="bert")
    with pytest.raises(grpc.RpcError) as late:
        served.stub.DecideApproval(request)
    assert late.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "was approved by anna at 20" in str(late.value.details())


def test_pages_over_grpc(served: Served) -> None:
    numbers = [waiting(served) for _ in range(3)]
    request = pb.ListApprovalsRequest(status="pending", page_size=2)
    first = served.stub.ListApprovals(request)
    request.page_token = first.next_page_token
    second = served.stub.ListApprovals(request)
    seen = [approval.execution_id for approval in (*first.approvals, *second.approvals)]
    assert seen[:3] == numbers[::-1]


DECIDE, LIST = pb.DecideApprovalRequest, pb.ListApprovalsRequest


@pytest.mark.parametrize(
    ("method", "request_", "code", "where"),
    [
        ("DecideApproval", DECIDE(decision="approved"), "INVALID_ARGUMENT", "execution_id"),
        ("DecideApproval", DECIDE(execution_id=1, decision="yes"), "INVALID_ARGUMENT", "decision"),
        ("DecideApproval", DECIDE(execution_id=1, approval_id=1, decision="approved"), "INVALID_ARGUMENT", "give"),
        ("DecideApproval", DECIDE(execution_id=2**40, decision="approved"), "NOT_FOUND", "no execution"),
        ("DecideApproval", DECIDE(approval_id=2**40, decision="approved"), "NOT_FOUND", "no approval"),
        ("DecideApproval", DECIDE(approval_id=-1, decision="approved"), "NOT_FOUND", "no approval"),
        ("DecideApproval", DECIDE(execution_id=1, decision="approved", data_json="{"), "INVALID_ARGUMENT", "JSON"),
        ("ListApprovals", LIST(status="open"), "INVALID_ARGUMENT", "status"),
        ("ListApprovals", LIST(page_size=-1), "INVALID_ARGUMENT", "page_size"),
        ("ListApprovals", LIST(page_token="x"), "INVALID_ARGUMENT", "page_token"),
        ("ListApprovals", LIST(execution_id=1, status="pending"), "INVALID_ARGUMENT", "leave status out"),
        ("ListApprovals", LIST(execution_id=2**40), "NOT_FOUND", "no execution"),
    ],
)
def test_refusals_over_grpc(served: Served, method: str, request_: Any, code: str, where: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        getattr(served.stub, method)(request_, timeout=30)
    assert refused.value.code().name == code
    assert where in str(refused.value.details())


def test_several_that_wait_must_be_named(served: Served) -> None:
    tasks = [{"key": key, "type": "approval", "execution_type": "async"} for key in ("a", "b")]
    number = served.execute(served.workflow(*tasks)).execution_id
    until(served, number, "waiting")
    done = served.cli("approve", str(number))
    assert (done.code, "several" in done.err) == (1, True)
    assert (
        served.cli("approve", str(number), "a", "--by", "anna").out
        == f"task a of execution {number} approved by anna\n"
    )
    assert served.cli("reject", str(number), "--comment", "no").code == 0
    until(served, number, "failed")


def test_a_decision_on_the_command_line(served: Served) -> None:
    number = waiting(served, title="Pay the bill?", roles="finance")
    listed = served.cli("approvals", "--status", "pending", "--limit", "1").out
    assert "Pay the bill?" in listed
    assert "finance" in listed
    assert "waits for approval by the role finance" in served.cli("status", str(number)).out
    done = served.cli("approve", str(number), "ask", "--by", "anna", "--comment", "ok", "--data", '{"n": 1}', "--json")
    assert json.loads(done.out)["status"] == "approved"
    until(served, number, "completed")
    late = served.cli("reject", str(number), "ask")
    assert late.code == 1
    assert "was approved by anna at" in late.err
    (shown,) = json.loads(served.cli("approvals", "--execution", str(number), "--json").out)["approvals"]
    assert (shown["decided_by"], shown["comment"]) == ("anna", "ok")


# --- what dies meanwhile ---


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_wait_survives_the_death_of_its_server(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """On SQLite it is started again; on PostgreSQL another engine, which was never told of it, goes on."""
    url = f"sqlite:///{tmp_path}/killed.db" if kind == "sqlite" else request.getfixturevalue("migrated_postgres_url")
    other = tmp_path / "other"
    other.mkdir()
    first, ready = process(tmp_path, "--database-url", url, LEASE_SECONDS="0.5")
    second, again = process(other, "--database-url", url, LEASE_SECONDS="0.5")
    with first, connected(first, ready) as served:
        number = waiting(served, timeout=3600)
        first.kill()
    with second, connected(second, again) as served:
        assert until(served, number, "waiting").tasks[0].reason == "waits for approval by anybody"
        assert served.cli("approve", str(number), "--by", "anna").code == 0
        output = json.loads(until(served, number, "completed").output_json)
        assert output["ask"]["by"] == "anna"
        assert second.stop() == 0, second.tail()
    shutil.rmtree(other)
