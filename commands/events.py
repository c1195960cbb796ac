"""Events from outside, over gRPC; triggers, over REST."""

from typing import Any

from commands import rest
from commands.calls import call, plain
from commands.output import cell, say, say_json, say_table
from proto.workflow.v1 import workflow_pb2 as pb


def emit(event: str, payload_json: str | None, idempotency_key: str | None, as_json: bool) -> None:
    request = pb.EmitEventRequest(type=event, payload_json=payload_json or "{}", idempotency_key=idempotency_key)
    answer = plain(call(lambda stub: stub.EmitEvent, request))
    if as_json:
        say_json(answer)
        return
    known = " (it was sent before)" if answer["replayed"] else ""
    later = "" if answer["handled"] else "; what follows from it is still to come"
    say(f"event {answer['event_id']} {event} received{known}{later}")
    for one in answer["started"]:
        say(f"started execution {one['execution_id']} of workflow {one['workflow_id']} (trigger {one['trigger_id']})")
    for one in answer["woken"]:
        say(f"woke the task {one['task']} of execution {one['execution_id']}")
    if more := answer["woken_count"] - len(answer["woken"]):
        say(f"and {more} more")
    for one in answer["problems"]:
        say(f"trigger {one['trigger_id']} of workflow {one['workflow_id']} failed: {one['message']}")


def triggers(ref: str, as_json: bool) -> None:
    found, _ = rest.call("GET", _path(ref))
    if as_json:
        say_json(found)
        return
    say_table(
        ("ID", "EVENT", "CONDITION", "ENABLED", "WRITTEN IN"),
        (
            (t["id"], t["event"], cell(t["condition"]), t["enabled"], "its document" if t["written"] else None)
            for t in found
        ),
    )


def add(ref: str, event: str, condition: Any, as_json: bool) -> None:
    body = {"event": event} | ({} if condition is None else {"condition": condition})
    made, _ = rest.call("POST", _path(ref), body)
    if as_json:
        say_json(made)
    else:
        say(f"trigger {made['id']} added to workflow {made['workflow_id']}")


def enable(ref: str, trigger_id: int, *, enabled: bool) -> None:
    rest.call("PUT", f"{_path(ref)}{trigger_id}", {"enabled": enabled})
    say(f"trigger {trigger_id} {'enabled' if enabled else 'disabled'}")


def delete(ref: str, trigger_id: int) -> None:
    rest.call("DELETE", f"{_path(ref)}{trigger_id}")
    say(f"trigger {trigger_id} deleted")


def _path(ref: str) -> str:
    return f"/workflows/{rest.segment(ref)}/triggers/"
