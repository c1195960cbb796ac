"""Every node type: what it does, what it refuses, how it is stopped. `ROWS` has one row for each; a test counts them.

A row's configs are made for one place (an executor's name), so that what happens there once happens there once.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.acceptance.serving import Served

Config = dict[str, Any]
PATIENCE = 120.0
"""Seconds for what must come, on a busy machine."""


class World(NamedTuple):
    """What the nodes call. `url(path)` answers at once, below `/slow` never, below `/flaky` at the second call."""

    site: str

    def url(self, path: str) -> str:
        return f"{self.site}{path}"


class Row(NamedTuple):
    """How one node type behaves.

    `outside(served, execution, task)` is what somebody else does while `good` waits for it.
    """

    good: Callable[[World, str], Config]
    output: Any
    """What `good` puts out, or a function that says whether it is right."""
    bad: tuple[str, Any] | None = None
    """A field and a value that it does not take; None: it takes anything."""
    renders: bool = True
    """Whether the bad value can also come out of a template."""
    slow: Callable[[World, str], Config] | None = None
    """Works or waits until it is stopped; None: it answers at once."""
    late: Config | None = {"timeout": 0.4}
    """Fields of the task with which `slow` fails by time-out; None: only its execution can stop it."""
    flaky: Callable[[World, str], Config] | None = None
    """Fails at its first attempt in a way that may pass; None: it cannot."""
    recovers: bool = True
    """Whether the second attempt of `flaky` completes."""
    error: str | None = None
    """The type of the failure that `good` ends with, for a type that does nothing else."""
    outside: Callable[[Served, int, str], None] | None = None
    inside: bool = False
    """Whether the place and the attempts are those of the task that it runs."""


def just(**config: Any) -> Callable[[World, str], Config]:
    """The same everywhere."""
    return lambda world, place: config


LOOP = "def process():\n  n = 0\n  while True:\n    n = n + 1"
BUSY_ONCE = """DO $$ BEGIN
  IF nextval('tries_{place}') = 1 THEN RAISE EXCEPTION 'busy' USING ERRCODE = '40001'; END IF;
END $$"""


def _has(*path: str, value: Any) -> Callable[[Any], bool]:
    """Whether an output has `value` at the end of a path of fields."""

    def holds(output: Any) -> bool:
        for step in path:
            output = output[step]
        return bool(output == value)

    return holds


def _ask(connection: str) -> Callable[[World, str], Config]:
    return just(model="m", prompt="Say hello now", connection=connection)


def _tell(channel: str) -> Callable[[World, str], Config]:
    return just(message="New hot lead", to_role="AE", channels=channel)


def _put(connection: str) -> Callable[[World, str], Config]:
    return lambda world, place: {"action": "put", "key": f"{place}.txt", "body": "abc", "connection": connection}


def _approve(served: Served, execution: int, task: str) -> None:
    """As soon as it is asked for."""
    deadline = time.monotonic() + PATIENCE
    while not [one for one in served.rest("GET", f"/executions/{execution}/approvals") if one["task"] == task]:
        assert time.monotonic() < deadline, f"{task} asks for nothing"
        time.sleep(0.05)
    served.rest("POST", f"/executions/{execution}/tasks/{task}/approve", {"by": "ana"})


def _send(served: Served, execution: int, task: str) -> None:
    """Perhaps before anybody waits for it."""
    served.rest("POST", "/events?type=rows.came", {"n": 1})


def _each(task: Config, **config: Any) -> Callable[[World, str], Config]:
    """Runs a task, and that one is what has a place."""
    return lambda world, place: {"task": {**task, "executor": place}, **config}


ROWS: dict[str, Row] = {
    "action": Row(just(action="nobody_made_it"), None, ("action", 5), renders=False, error="unknown_action"),
    "approval": Row(
        just(title="May I?"), _has("by", value="ana"), ("timeout", -1), slow=just(title="May I?"), outside=_approve
    ),
    "branch": Row(
        just(cases=[{"condition": "{{input.n}} > 1", "label": "many"}, {"else": True, "label": "few"}]),
        {"label": "many", "case": 1},
        ("cases", "many"),
    ),
    "code": Row(
        just(code="def process(n):\n  return n * 2", input_mapping={"n": "{{input.n}}"}),
        4,
        ("timeout", 301),
        slow=just(code=LOOP, timeout=60),
        flaky=just(code="def process():\n  raise ValueError('again')"),
        recovers=False,
    ),
    "conditional": Row(
        just(condition="{{input.n}} > 1"), {"result": True}, ("condition", "{{input.n}} >"), renders=False
    ),
    "delay": Row(just(ms=10), None, ("ms", -1), slow=just(duration_seconds=600), late=None),
    "fail": Row(
        just(message="no stock", error_type="stock"),
        None,
        ("retryable", "perhaps"),
        flaky=just(message="no stock", retryable=True),
        recovers=False,
        error="stock",
    ),
    "http_request": Row(
        lambda world, place: {"url": world.url("/ok"), "query": {"n": "{{input.n}}"}},
        _has("body", "path", value="/ok?n=2"),
        ("method", "STEAL"),
        slow=lambda world, place: {"url": world.url("/slow")},
        flaky=lambda world, place: {"url": world.url("/flaky")},
    ),
    "llm": Row(
        _ask("models"),
        _has("usage", value={"input_tokens": 3, "output_tokens": 1, "total_tokens": 4, "cost": 0.00015}),
        ("temperature", 3),
        slow=_ask("slow_models"),
        flaky=_ask("flaky_models"),
    ),
    "loop": Row(
        _each({"type": "set", "config": {"r": "{{round}}"}}, until="{{last.r}} >= 2"),
        {"last": {"r": 2}, "rounds": 2},
        ("max_rounds", 0),
        slow=_each({"type": "noop", "config": {"duration": 600}}, until="{{round}} > 1"),
        late=None,
        inside=True,
    ),
    "map": Row(
        _each({"type": "set", "config": {"n": "{{item}}"}}, items=[1, 2]),
        {"results": [{"n": 1}, {"n": 2}], "errors": []},
        ("max_parallel", 0),
        slow=_each({"type": "noop", "config": {"duration": 600}}, items=[1]),
        late=None,
        inside=True,
    ),
    "noop": Row(just(n="{{input.n}}"), {"n": 2}, ("duration", -1), slow=just(duration=600)),
    "object_store": Row(
        _put("files"), _has("bytes", value=3), ("max_keys", 0), slow=_put("slow_files"), flaky=_put("flaky_files")
    ),
    "publish_event": Row(just(event="rows.told"), _has("event", value="rows.told"), ("event", "")),
    "send_notification": Row(
        _tell("hook"),
        {"delivered": [{"channel": "hook", "kind": "webhook"}]},
        ("timeout", 0),
        slow=_tell("slow_hook"),
        flaky=_tell("flaky_hook"),
    ),
    "set": Row(just(n="{{input.n}}"), {"n": 2}),
    "sql": Row(
        just(statement="SELECT :n + 1 AS n", parameters={"n": "{{input.n}}"}),
        {"columns": ["n"], "rows": [{"n": 3}], "row_count": 1},
        ("max_rows", 0),
        slow=just(statement="SELECT pg_sleep(30)", timeout=3),
        flaky=lambda world, place: {"statement": BUSY_ONCE.format(place=place)},
    ),
    "start": Row(just(n="{{input.n}}"), {"n": 2}),
    "sub_workflow": Row(
        just(workflow="rows-child", input={"n": "{{input.n}}"}),
        {"out": {"n": 2}},
        ("version", 0),
        slow=just(workflow="rows-slow"),
    ),
    "transform": Row(just(mapping={"n": ["{{input.n}}"]}), {"n": [2]}),
    "wait_for_event": Row(
        just(event="rows.came", lookback=60),
        {"n": 1},
        ("lookback", 0),
        slow=just(event="rows.never"),
        late={"parameters": {"event": "rows.never", "timeout": 0.4}},
        outside=_send,
    ),
}
