"""Texts that no database holds are refused, or not found, on every one of them; never a fault of ours."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from bootstrap.settings import Settings
from bootstrap.wiring import open_service
from engine.errors import Invalid, MillraceError, NotFound
from engine.ports import NewWorkflow
from engine.service import WorkflowService

Call = Callable[[WorkflowService, str], Awaitable[Any]]
CALLS: dict[str, tuple[Call, type[MillraceError]]] = {
    "start": (lambda service, text: service.execute_workflow("w", idempotency_key=text), Invalid),
    "label": (lambda service, text: service.execute_workflow("w", labels={"a": text}), Invalid),
    "name of a label": (lambda service, text: service.execute_workflow("w", labels={text: "a"}), Invalid),
    "signal": (lambda service, text: service.signal_execution(1, text), Invalid),
    "key of a signal": (lambda service, text: service.signal_execution(1, "go", None, text), Invalid),
    "task of an approval": (lambda service, text: service.approvals.of_task(1, text), Invalid),
    "key of an event": (lambda service, text: service.reception.receive({}, "order.paid", text), Invalid),
    "secret": (lambda service, text: service.secrets.get(text), NotFound),
    "secret to be deleted": (lambda service, text: service.secrets.delete(text), NotFound),
    "action": (lambda service, text: service.actions.get(text), NotFound),
    "action to be deleted": (lambda service, text: service.actions.delete(text), NotFound),
    "workflow": (lambda service, text: service.get_workflow(text), NotFound),
}


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[WorkflowService]:
    async with open_service(Settings(database_url=database_url), engine=False) as opened:
        await opened.create_workflow(NewWorkflow("default", "w", "w"))
        yield opened


@pytest.mark.parametrize("text", ["a\0b", "a\ud800"], ids=["NUL", "surrogate"])
async def test_a_text_that_cannot_be_kept_is_refused(service: WorkflowService, text: str) -> None:
    for what, (call, expected) in CALLS.items():
        try:
            await call(service, text)
        except expected:
            continue
        pytest.fail(f"{what}: {text!r} went through")
