"""Every error that Millrace answers with, as one tree.

    MillraceError
    ├── Invalid                 what was sent cannot be accepted as it is
    │   ├── InvalidDocument     not the strict JSON (or YAML) that we read
    │   ├── InvalidWorkflow     a definition with faults; carries them all
    │   ├── IdempotencyMismatch the same key was used with another body
    │   └── TooLarge            beyond a written limit
    ├── NotFound                no such thing, or not yours
    │   ├── WorkflowNotFound
    │   ├── TaskNotFound
    │   ├── VersionNotFound
    │   ├── ExecutionNotFound
    │   ├── NodeTypeNotFound
    │   ├── ApprovalNotFound
    │   ├── SecretNotFound
    │   ├── TriggerNotFound
    │   ├── EventNotFound
    │   └── ActionNotFound
    ├── Conflict                the thing is not in a state that allows it
    │   ├── KeyTaken
    │   ├── WrittenOtherwise
    │   ├── AlreadyEnded
    │   ├── AlreadyDecided      somebody, or its time-out, was quicker
    │   └── SecretsDisabled     this installation has no key to seal them with
    ├── Exhausted               a bounded resource is full; try later
    ├── Unavailable             a server we need does not answer; try later
    │   ├── StoreUnavailable
    │   └── PublisherUnavailable
    ├── Refused                 inside the engine: the store did not take a write
    │   ├── LeaseLost
    │   └── BatchRefused
    ├── ConfigurationError      this process is set up wrongly; says the cure
    └── TaskError               raised by a node: this attempt failed

A message says what was wrong and what to do; `pointer` says where (RFC 6901).
"""

from collections.abc import Sequence
from typing import Any

import msgspec


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong in a document: `pointer` (RFC 6901) or `line` (from 1) says where."""

    message: str
    pointer: str = ""
    code: str = "invalid"
    line: int | None = None


class MillraceError(Exception):
    """Something went wrong; see the log of the process."""

    code = "error"

    def __init__(
        self,
        message: str | None = None,
        *,
        pointer: str = "",
        faults: Sequence[Fault] = (),
        code: str | None = None,
    ) -> None:
        self.message = message or " ".join((type(self).__doc__ or "").split())
        self.pointer = pointer
        self.faults = tuple(faults) or ((Fault(self.message, pointer, code or self.code),) if pointer else ())
        if code:
            self.code = code
        super().__init__(self.message)


class Invalid(MillraceError):
    """The request cannot be accepted as it is."""

    code = "invalid"


class InvalidDocument(Invalid):
    """The document cannot be read."""

    code = "invalid_document"


class InvalidWorkflow(Invalid):
    """The workflow definition has faults."""

    code = "invalid_workflow"


class IdempotencyMismatch(Invalid):
    """This idempotency key was already used with another request; use a new key for a new request."""

    code = "idempotency_mismatch"


class TooLarge(Invalid):
    """The request is larger than the limit."""

    code = "too_large"


class NotFound(MillraceError):
    """There is no such thing."""

    code = "not_found"


class WorkflowNotFound(NotFound):
    """There is no such workflow; list them with GET /workflows/."""

    code = "workflow_not_found"


class TaskNotFound(NotFound):
    """There is no such task in this workflow; list them with GET /workflows/{id}/tasks/."""

    code = "task_not_found"


class VersionNotFound(NotFound):
    """There is no such version; list them with GET /workflows/{id}/versions."""

    code = "version_not_found"


class ExecutionNotFound(NotFound):
    """There is no such execution; list them with GET /executions."""

    code = "execution_not_found"


class NodeTypeNotFound(NotFound):
    """There is no such node type; list them with GET /nodes."""

    code = "node_type_not_found"


class ApprovalNotFound(NotFound):
    """There is no such approval; list them with GET /approvals."""

    code = "approval_not_found"


class SecretNotFound(NotFound):
    """There is no such secret; list them with GET /secrets."""

    code = "secret_not_found"


class TriggerNotFound(NotFound):
    """There is no such trigger; list them with GET /workflows/{id}/triggers/."""

    code = "trigger_not_found"


class EventNotFound(NotFound):
    """There is no such event; POST /events answers the ids."""

    code = "event_not_found"


class ActionNotFound(NotFound):
    """There is no such action; list them with GET /actions."""

    code = "action_not_found"


class Conflict(MillraceError):
    """This is not possible in the present state."""

    code = "conflict"


class KeyTaken(Conflict):
    """This key is already in use; choose another."""

    code = "key_taken"


class WrittenOtherwise(Conflict):
    """The workflow is not written in a way that allows this."""

    code = "written_otherwise"


class AlreadyEnded(Conflict):
    """The execution has already ended; nothing can change it any more."""

    code = "already_ended"

    @classmethod
    def of(cls, execution_id: int, status: str) -> "AlreadyEnded":
        """It has ended with this status."""
        return cls(f"execution {execution_id} is {status}; nothing can change it any more")


class AlreadyDecided(Conflict):
    """Somebody has decided already; one decision stands."""

    code = "already_decided"


class SecretsDisabled(Conflict):
    """There is no key to seal secrets with: make one with `python cli.py secret key` and set SECRET_KEYS to it."""

    code = "secrets_disabled"


class Exhausted(MillraceError):
    """Too much at once; try again later."""

    code = "exhausted"


class Unavailable(MillraceError):
    """A server that is needed does not answer; try again."""

    code = "unavailable"


class StoreUnavailable(Unavailable):
    """The database does not answer; try again."""

    code = "store_unavailable"


class PublisherUnavailable(Unavailable):
    """The server that events are published to does not answer; it is tried again."""

    code = "publisher_unavailable"


class Refused(MillraceError):
    """The store did not take the write."""

    code = "refused"


class LeaseLost(Refused):
    """This process's lease was taken over; it goes on under a new one."""

    code = "lease_lost"


class BatchRefused(Refused):
    """At least one item of the batch cannot be stored; the batch is bisected."""

    code = "batch_refused"


class ConfigurationError(MillraceError):
    """The settings of this process do not work together."""

    code = "configuration"


class TaskError(MillraceError):
    """The attempt failed. `retryable=False` ends the task at once, whatever its retry policy.

    `usage` (`engine.model.Usage`) is what the attempt has spent all the same.
    """

    code = "task_error"

    def __init__(
        self,
        message: str,
        *,
        type: str = "task_error",  # noqa: A002
        retryable: bool = True,
        usage: Any = None,
    ) -> None:
        super().__init__(message)
        self.type = type
        self.retryable = retryable
        self.usage = usage
