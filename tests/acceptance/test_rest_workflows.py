"""Workflows and tasks over REST, as documented."""

from collections.abc import AsyncIterator

import pytest

from tests.rest import Rest, open_rest

RFC3339 = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"


@pytest.fixture
async def rest(sqlite_url: str) -> AsyncIterator[Rest]:
    async with open_rest(sqlite_url) as rest:
        yield rest


async def test_create_answers_what_the_document_shows(rest: Rest) -> None:
    body = {"name": "Data Processing Workflow", "description": "Process and transform data files"}
    made = await rest.post("/workflows/", body)
    assert made.status == 201
    assert made.headers["location"] == "/workflows/1"
    assert made.headers["content-type"] == "application/json"
    answer = made.json()
    assert list(answer)[:6] == ["name", "description", "id", "created_at", "updated_at", "tasks"]
    assert {k: answer[k] for k in ("name", "description", "id", "tasks", "key", "dialect")} == {
        **body,
        "id": 1,
        "tasks": [],
        "key": None,
        "dialect": "ordered_tasks",
    }
    assert answer["created_at"].endswith("Z")
    assert answer.pop("warnings") == []
    assert (await rest.get(made.headers["location"])).json() == answer


@pytest.mark.parametrize("slash", ["", "/"])
async def test_both_slashes_work_without_redirect(rest: Rest, slash: str) -> None:
    assert (await rest.post(f"/workflows{slash}", {"name": "a"})).status == 201
    assert (await rest.post(f"/workflows/1/tasks{slash}", {"name": "t"})).status == 201
    for path in ("/workflows", "/workflows/1", "/workflows/1/tasks", "/workflows/1/tasks/1", "/executions", "/health"):
        assert (await rest.get(f"{path}{slash}")).status == 200
    assert (await rest.put(f"/workflows/1{slash}", {"name": "b"})).status == 200
    assert (await rest.delete(f"/workflows/1/tasks/1{slash}")).status == 204
    assert (await rest.delete(f"/workflows/1{slash}")).status == 204


async def test_list_is_an_array_with_the_total_in_a_header(rest: Rest) -> None:
    for number in range(5):
        await rest.post("/workflows/", {"name": f"w{number}"})
    page = await rest.get("/workflows/?skip=1&limit=2")
    assert [row["name"] for row in page.json()] == ["w1", "w2"]
    assert page.headers["x-total-count"] == "5"
    assert (await rest.get("/workflows/?skip=9")).json() == []
    assert len((await rest.get("/workflows/")).json()) == 5


async def test_put_changes_the_fields_given(rest: Rest) -> None:
    before = (await rest.post("/workflows/", {"name": "a", "description": "d", "key": "nightly"})).json()
    after = (await rest.put("/workflows/nightly", {"description": None})).json()
    assert after == {**before, "description": None, "updated_at": after["updated_at"]}
    assert after["updated_at"] >= before["updated_at"]
    assert (await rest.put("/workflows/1", {"key": None})).json()["key"] is None
    assert (await rest.get("/workflows/nightly")).code == "workflow_not_found"
    assert (await rest.put("/workflows/1", {})).status == 200


async def test_a_budget_is_given_changed_and_taken_away(rest: Rest) -> None:
    made = (await rest.post("/workflows/", {"name": "a", "budget": {"cost": 1.5}})).json()
    assert made["budget"] == {"cost": 1.5, "tokens": None, "on_exceeded": "fail"}
    changed = (await rest.put("/workflows/1", {"budget": {"tokens": 1000, "on_exceeded": "ask"}})).json()
    assert changed["budget"] == {"cost": None, "tokens": 1000, "on_exceeded": "ask"}
    assert (await rest.put("/workflows/1", {"description": "d"})).json()["budget"] == changed["budget"]
    assert (await rest.get("/workflows/1")).json()["budget"] == changed["budget"]
    assert (await rest.put("/workflows/1", {"budget": None})).json()["budget"] is None
    wrong: tuple[object, ...] = (
        {},
        {"cost": -1},
        {"tokens": 1.5},
        {"coast": 1},
        {"cost": 1, "on_exceeded": "stop"},
        5,
        {"cost": None},
    )
    for budget in wrong:
        assert (await rest.post("/workflows/", {"name": "a", "budget": budget})).status == 422


async def test_a_workflow_is_found_by_id_and_by_key(rest: Rest) -> None:
    await rest.post("/workflows/", {"name": "a", "key": "nightly"})
    assert (await rest.get("/workflows/nightly")).json() == (await rest.get("/workflows/1")).json()
    assert (await rest.get("/workflows/0001")).json()["id"] == 1
    assert (await rest.post("/workflows/", {"name": "b", "key": "nightly"})).code == "key_taken"


async def test_delete_archives_and_frees_the_key(rest: Rest) -> None:
    await rest.post("/workflows/", {"name": "a", "key": "nightly"})
    execution = (await rest.post("/workflows/nightly/execute?wait=10")).json()
    gone = await rest.delete("/workflows/nightly")
    assert (gone.status, gone.body) == (204, b"")
    assert (await rest.get("/workflows/1")).status == 404
    assert (await rest.delete("/workflows/1")).status == 404
    assert (await rest.post("/workflows/", {"name": "b", "key": "nightly"})).json()["id"] == 2
    assert (await rest.get(f"/executions/{execution['id']}")).json()["workflow_id"] == 1


async def test_a_task_as_documented(rest: Rest) -> None:
    await rest.post("/workflows/", {"name": "a"})
    body = {
        "name": "My Task",
        "description": "A simple task",
        "order": 1,
        "execution_type": "sync",
        "parameters": {},
    }
    made = await rest.post("/workflows/1/tasks/", body)
    assert made.status == 201
    assert made.headers["location"] == "/workflows/1/tasks/1"
    answer = made.json()
    assert {name: answer[name] for name in body} == body
    assert (answer["id"], answer["workflow_id"], answer["key"], answer["retry"]["max_attempts"]) == (1, 1, "task_1", 1)
    assert (await rest.get("/workflows/1/tasks/1")).json() == answer
    assert (await rest.get("/workflows/1/tasks/")).json() == [answer]
    assert (await rest.get("/workflows/1")).json()["tasks"] == [answer]


async def test_a_task_with_everything(rest: Rest) -> None:
    await rest.post("/workflows/", {"name": "a"})
    await rest.post("/workflows/1/tasks/", {"name": "first", "key": "first"})
    body = {
        "name": "second",
        "description": None,
        "order": 7,
        "execution_type": "async",
        "parameters": {"values": {"n": "{{tasks.first.output}}"}},
        "key": "second",
        "type": "set",
        "depends_on": ["first"],
        "when": "{{input.express}}",
        "retry": {
            "max_attempts": 5,
            "initial_interval": 0.5,
            "backoff_coefficient": 3.0,
            "maximum_interval": 60.0,
            "jitter": 0.1,
            "non_retryable": ["bad"],
        },
        "timeout": 30.0,
        "executor": "asyncio",
        "on_error": "continue",
    }
    answer = (await rest.post("/workflows/1/tasks/", body)).json()
    assert {name: answer[name] for name in body} == body
    changed = (await rest.put("/workflows/1/tasks/2", {"retry": {"max_attempts": 2}, "order": 3})).json()
    assert changed["retry"] == {
        "max_attempts": 2,
        "initial_interval": 1.0,
        "backoff_coefficient": 2.0,
        "maximum_interval": 3600.0,
        "jitter": 0.0,
        "non_retryable": [],
    }
    assert {k: v for k, v in changed.items() if k not in ("retry", "order", "updated_at")} == {
        k: v for k, v in answer.items() if k not in ("retry", "order", "updated_at")
    }
    assert (await rest.delete("/workflows/1/tasks/1")).code == "invalid_workflow"
    assert (await rest.delete("/workflows/1/tasks/2")).status == 204
    assert (await rest.get("/workflows/1/tasks/2")).code == "task_not_found"


async def test_conditions_are_expressions_or_jsonlogic(rest: Rest) -> None:
    await rest.post("/workflows/", {"name": "a"})
    whens = {
        "text": "{{input.value}} > 10",
        "logic": {"and": [{">": [{"var": "value"}, 10]}, {"==": [{"var": "tasks.text.output.n"}, 22]}]},
        "output": "{{text.output.n}} == 22 and not {{input.flag}}",
        "no": "{{input.flag}}",
    }
    for key, when in whens.items():
        body = {
            "name": key,
            "key": key,
            "type": "set",
            "parameters": {"n": "{{input.value * 2}}"},
            "when": when,
        }
        assert (await rest.post("/workflows/1/tasks/", body)).json()["when"] == when
    ended = (await rest.post("/workflows/1/execute?wait=10", {"input": {"value": 11, "flag": "false"}})).json()
    assert {task["key"]: task["status"] for task in ended["tasks"]} == {
        "text": "completed",
        "logic": "completed",
        "output": "completed",
        "no": "skipped",
    }
    refused = await rest.put("/workflows/1/tasks/1", {"when": {"vra": "x"}})
    assert (refused.status, refused.pointers) == (422, ["/when/vra"])


async def test_head_is_get_without_a_body(rest: Rest) -> None:
    await rest.post("/workflows/", {"name": "a"})
    for path in ("/workflows/1", "/workflows/1", "/ping", "/executions/9", "/openapi.json"):
        head, get = await rest.send("HEAD", path), await rest.get(path)
        assert head.body == b""
        assert (head.status, head.headers["content-length"]) == (get.status, str(len(get.body)))
    assert (await rest.send("HEAD", "/workflows/1/execute")).status == 405
