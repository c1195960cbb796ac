"""Every error has its status; every answer is a problem."""

from collections.abc import Iterator

import pytest
import structlog
from fastapi import FastAPI

from api import errors
from api.door import Net
from engine.errors import (
    AlreadyEnded,
    ConfigurationError,
    Exhausted,
    Fault,
    IdempotencyMismatch,
    Invalid,
    InvalidDocument,
    InvalidWorkflow,
    KeyTaken,
    LeaseLost,
    MillraceError,
    StoreUnavailable,
    TaskError,
    TooLarge,
    WorkflowNotFound,
)
from tests.rest import Rest

EXPECTED = {
    Invalid: 422,
    InvalidDocument: 422,
    InvalidWorkflow: 422,
    IdempotencyMismatch: 422,
    TooLarge: 413,
    WorkflowNotFound: 404,
    KeyTaken: 409,
    AlreadyEnded: 409,
    Exhausted: 429,
    StoreUnavailable: 503,
    LeaseLost: 503,
    ConfigurationError: 500,
}


def tree(kind: type[MillraceError]) -> Iterator[type[MillraceError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


def raising(error: Exception) -> Rest:
    app = FastAPI()
    errors.install(app)

    @app.get("/it")
    async def it() -> None:
        raise error

    return Rest(Net(app))


@pytest.mark.parametrize(("kind", "status"), EXPECTED.items())
async def test_status_and_body(kind: type[MillraceError], status: int) -> None:
    error = kind("what was wrong", faults=[Fault("here", "/a/0", "bad")])
    answer = await raising(error).get("/it")
    assert answer.status == status
    if status < 500 or status == 503:
        assert answer.code == kind.code
        assert answer.json()["detail"] == "what was wrong"
        assert answer.json()["instance"] == "/it"
        assert answer.json()["type"] == f"urn:millrace:problem:{kind.code}"
        assert answer.json()["errors"] == [{"pointer": "/a/0", "message": "here", "code": "bad"}]
    assert ("retry-after" in answer.headers) == (status in (429, 503))


def test_no_class_falls_to_500_by_oversight() -> None:
    ours = {MillraceError, ConfigurationError, TaskError}
    assert {kind for kind in tree(MillraceError) if errors.STATUS.get(kind) == 500} == ours
    for kind in tree(MillraceError):
        error = kind("m")
        assert (errors.status_of(error) == 500) == isinstance(error, ConfigurationError | TaskError) or kind in ours


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("a secret"), ConfigurationError("a secret"), TaskError("a secret")]
)
async def test_a_fault_of_ours_is_logged_and_not_shown(error: Exception) -> None:
    with structlog.testing.capture_logs() as logs:
        answer = await raising(error).get("/it")
    assert (answer.status, answer.code) == (500, "internal")
    assert b"secret" not in answer.body
    assert [(entry["event"], entry["path"]) for entry in logs] == [("request failed", "/it")]


async def test_many_faults_are_cut() -> None:
    error = InvalidWorkflow("many", faults=[Fault("f", f"/{number}") for number in range(1000)])
    assert len((await raising(error).get("/it")).pointers) == errors.SHOWN
