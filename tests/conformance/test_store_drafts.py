"""Drafts and versions."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from engine.actions import ReadActions
from engine.errors import Invalid, KeyTaken, TaskNotFound, VersionNotFound, WorkflowNotFound
from engine.model import Budget, Compensation, DraftTask, RetryPolicy, Workflow
from engine.ports import Compiled, NewTask, Store, TaskEdit
from tests.stores import SPACE, adds, sql, workflow


def agree(_draft: Workflow) -> None:
    """A check that refuses nothing."""


def refuse(_draft: Workflow) -> None:
    raise Invalid("no")


async def add(store: Store, ref: int | str, name: str = "task", **fields: Any) -> DraftTask:
    draft, task_id = await store.edit_tasks(SPACE, ref, adds(name, **fields))
    return next(task for task in draft.tasks if task.id == task_id)


# --- workflows ---


async def test_a_workflow_is_found_by_id_and_key(store: Store) -> None:
    new = workflow("na'me %s", key="k", description="de\\scription", dialect="yaml", source=b"\x00a: 1")
    made = await store.create_workflow(new)
    assert (made.namespace, made.name, made.key, made.description) == (SPACE, "na'me %s", "k", "de\\scription")
    assert (made.dialect, made.source, made.revision, made.tasks) == ("yaml", b"\x00a: 1", 1, ())
    assert made.created_at == made.updated_at
    assert abs(made.created_at - time.time()) < 60
    assert await store.get_workflow(SPACE, made.id) == made
    assert await store.get_workflow(SPACE, "k") == made


async def test_a_budget_is_kept_changed_and_taken_away(store: Store) -> None:
    made = await store.create_workflow(msgspec.structs.replace(workflow(), budget=Budget(1.5, 1000, "ask")))
    assert made.budget == Budget(1.5, 1000, "ask")
    assert await store.get_workflow(SPACE, made.id) == made
    changed = await store.update_workflow(SPACE, made.id, {"budget": Budget(tokens=5)})
    assert changed.budget == Budget(tokens=5)
    assert (await store.update_workflow(SPACE, made.id, {"name": "x"})).budget == Budget(tokens=5)
    assert (await store.list_workflows(SPACE, 0, 10))[0][0].budget == Budget(tokens=5)
    assert (await store.update_workflow(SPACE, made.id, {"budget": None})).budget is None


@pytest.mark.parametrize("ref", [4711, "nothing", 0, -1, 2**80, "", "a\0b", "\ud800"])
async def test_an_unknown_workflow(store: Store, ref: int | str) -> None:
    for use in (
        store.get_workflow(SPACE, ref),
        store.update_workflow(SPACE, ref, {"name": "x"}),
        store.archive_workflow(SPACE, ref),
        store.edit_tasks(SPACE, ref, adds()),
        store.ensure_version(SPACE, ref, compiled("d")),
    ):
        with pytest.raises(WorkflowNotFound):
            await use
    assert await store.current_revisions(SPACE, [ref]) == {}


async def test_namespaces_do_not_see_each_other(store: Store) -> None:
    made = await store.create_workflow(workflow(key="k"))
    for ref in (made.id, "k"):
        with pytest.raises(WorkflowNotFound):
            await store.get_workflow("other", ref)
    assert await store.list_workflows("other", 0, 10) == ([], 0)
    assert await store.current_revisions("other", [made.id, "k"]) == {}


async def test_a_key_is_unique_until_its_workflow_is_archived(store: Store) -> None:
    first = await store.create_workflow(workflow("first", key="k"))
    second = await store.create_workflow(workflow("second"))
    with pytest.raises(KeyTaken) as refusal:
        await store.create_workflow(workflow("third", key="k"))
    assert refusal.value.pointer == "/key"
    with pytest.raises(KeyTaken):
        await store.update_workflow(SPACE, second.id, {"key": "k"})
    assert await store.archive_workflow(SPACE, "k") == first.id
    with pytest.raises(WorkflowNotFound):
        await store.get_workflow(SPACE, first.id)
    assert (await store.update_workflow(SPACE, second.id, {"key": "k"})).key == "k"
    assert (await store.get_workflow(SPACE, "k")).id == second.id


async def test_an_update_sets_the_fields_given(store: Store) -> None:
    made = await store.create_workflow(workflow("old", key="k", description="d"))
    await add(store, "k")
    changed = await store.update_workflow(SPACE, "k", {"name": "new", "description": None})
    assert (changed.name, changed.description, changed.key, changed.revision) == ("new", None, "k", 3)
    assert changed.updated_at > changed.created_at == made.created_at
    assert len(changed.tasks) == 1
    assert await store.get_workflow(SPACE, made.id) == changed


async def test_pages_of_workflows(store: Store) -> None:
    made = [await store.create_workflow(workflow(f"w{n}")) for n in range(5)]
    for n in (1, 3):
        await add(store, made[n].id, order=2)
        await add(store, made[n].id, order=1)
    await store.archive_workflow(SPACE, made[2].id)
    page, total = await store.list_workflows(SPACE, 1, 2)
    assert total == 4
    assert [w.id for w in page] == [made[1].id, made[3].id]
    assert page == [await store.get_workflow(SPACE, w.id) for w in page]
    assert await store.list_workflows(SPACE, 4, 2) == ([], 4)


# --- tasks ---


async def test_every_field_of_a_task_comes_back(store: Store) -> None:
    made = await store.create_workflow(workflow())
    fields: dict[str, Any] = {
        "key": "send",
        "description": "it's \\ ü",
        "order": 7,
        "execution_type": "async",
        "type": "http_request",
        "parameters": {"url": "http://x/{{input.a}}", "n": [1, 2.5, None, True], "%s": {"ü": ""}},
        "depends_on": ("a", "b"),
        "when": "input.a > 1",
        "retry": RetryPolicy(max_attempts=3, jitter=0.5, non_retryable=("x",)),
        "timeout": 1.25,
        "executor": "rq",
        "on_error": "continue",
        "compensate": Compensation("noop", {"ü": 1.0}, RetryPolicy(max_attempts=2), 2.5, "rq"),
    }
    task = await add(store, made.id, "send it", **fields)
    assert {name: getattr(task, name) for name in fields} == fields
    assert (task.workflow_id, task.name) == (made.id, "send it")
    assert (await store.get_workflow(SPACE, made.id)).tasks == (task,)


async def test_the_store_makes_order_and_key(store: Store) -> None:
    made = await store.create_workflow(workflow())
    first = await add(store, made.id)
    await add(store, made.id, key="task_3", order=10)
    third = await add(store, made.id)
    fourth = await add(store, made.id)
    assert [(t.key, t.order) for t in (first, third, fourth)] == [("task_1", 1), ("task_2", 11), ("task_4", 12)]


async def test_tasks_are_sorted_by_order_and_id(store: Store) -> None:
    made = await store.create_workflow(workflow())
    tasks = [await add(store, made.id, order=order) for order in (2, 1, 2, -5, 1)]
    by_id = {task.id: n for n, task in enumerate(tasks)}
    draft = await store.get_workflow(SPACE, made.id)
    assert [by_id[task.id] for task in draft.tasks] == [3, 1, 4, 0, 2]


async def test_an_edit_answers_the_draft_that_is_stored(store: Store) -> None:
    made = await store.create_workflow(workflow())
    keep, goes = [await add(store, made.id, order=order) for order in (1, 2)]
    retry, when = RetryPolicy(max_attempts=2), {"==": [{"var": "a"}, 1.5]}
    changes = {"order": 3, "parameters": {"a": 1}, "retry": retry, "when": when, "timeout": 2.0}
    seen: list[Workflow] = []
    draft, task_id = await store.edit_tasks(SPACE, made.id, TaskEdit(seen.append, task_id=keep.id, changes=changes))
    assert task_id == keep.id
    assert [draft] == seen == [await store.get_workflow(SPACE, made.id)]
    assert (draft.tasks[1].order, draft.tasks[1].parameters, draft.tasks[1].key) == (3, {"a": 1}, keep.key)
    assert draft.tasks[1].retry == RetryPolicy(max_attempts=2)
    assert draft.tasks[1].compensate is None
    draft, task_id = await store.edit_tasks(SPACE, made.id, TaskEdit(seen.append, task_id=goes.id))
    assert task_id == goes.id
    assert draft == seen[1] == await store.get_workflow(SPACE, made.id)
    assert [task.id for task in draft.tasks] == [keep.id]
    assert draft.revision == made.revision + 4
    assert draft.updated_at > made.updated_at


async def test_a_check_that_raises_leaves_nothing(store: Store) -> None:
    made = await store.create_workflow(workflow())
    task = await add(store, made.id)
    before = await store.get_workflow(SPACE, made.id)
    edits = [
        TaskEdit(refuse, new=NewTask("x")),
        TaskEdit(refuse, task_id=task.id, changes={"name": "x"}),
        TaskEdit(refuse, task_id=task.id),
    ]
    for edit in edits:
        with pytest.raises(Invalid):
            await store.edit_tasks(SPACE, made.id, edit)
    assert await store.get_workflow(SPACE, made.id) == before
    assert (await add(store, made.id)).key == "task_2"


async def test_a_task_key_is_unique_in_its_workflow(store: Store) -> None:
    made, other = [await store.create_workflow(workflow(name)) for name in "ab"]
    await add(store, made.id, key="k")
    second = await add(store, made.id)
    await add(store, other.id, key="k")
    with pytest.raises(KeyTaken) as refusal:
        await store.edit_tasks(SPACE, made.id, adds(key="k"))
    assert refusal.value.pointer == "/key"
    for key in ("k", second.key):
        change = TaskEdit(agree, task_id=second.id, changes={"key": key})
        if key == "k":
            with pytest.raises(KeyTaken):
                await store.edit_tasks(SPACE, made.id, change)
        else:
            await store.edit_tasks(SPACE, made.id, change)


async def test_an_unknown_task(store: Store) -> None:
    made, other = [await store.create_workflow(workflow(name)) for name in "ab"]
    task = await add(store, other.id)
    for task_id in (task.id, 4711, -1, 2**80):
        for changes in ({"name": "x"}, None):
            with pytest.raises(TaskNotFound):
                await store.edit_tasks(SPACE, made.id, TaskEdit(agree, task_id=task_id, changes=changes))
    assert (await store.get_workflow(SPACE, made.id)).revision == 1


async def test_fifty_at_once_lose_nothing(store: Store) -> None:
    made = await store.create_workflow(workflow())
    await asyncio.gather(*(add(store, made.id, f"t{n}") for n in range(50)))
    draft = await store.get_workflow(SPACE, made.id)
    assert {task.name for task in draft.tasks} == {f"t{n}" for n in range(50)}
    assert {task.key for task in draft.tasks} == {f"task_{n}" for n in range(1, 51)}
    assert sorted(task.order for task in draft.tasks) == list(range(1, 51))
    assert draft.revision == 51


# --- versions ---


def compiled(digest: str, presentation: bytes = b"{}") -> Any:
    return lambda draft, read: Compiled(digest, f'{{"of":"{digest}"}}'.encode(), presentation)


def never(_draft: Workflow, _read: ReadActions) -> Compiled:
    raise AssertionError("compiled again")


async def test_an_unchanged_draft_is_compiled_once(store: Store) -> None:
    made = await store.create_workflow(workflow(key="k"))
    drafts: list[Workflow] = []

    def compile_draft(draft: Workflow, read: ReadActions) -> Compiled:
        drafts.append(draft)
        return Compiled("d", b'{"g":1}', b'{"p":1}')

    await add(store, "k")
    version, revision = await store.ensure_version(SPACE, "k", compile_draft)
    assert drafts == [await store.get_workflow(SPACE, "k")]
    assert (version.workflow_id, version.number, version.digest, revision) == (made.id, 1, "d", 2)
    assert (version.graph, version.presentation) == (b'{"g":1}', b'{"p":1}')
    assert await store.ensure_version(SPACE, made.id, never) == (version, 2)
    assert await store.get_versions([version.id, 4711, -1, 2**80]) == {version.id: version}


async def test_an_old_content_is_found_again(store: Store) -> None:
    made = await store.create_workflow(workflow())
    numbers = []
    for digest in "ABAC":
        await store.update_workflow(SPACE, made.id, {"name": digest})
        version, revision = await store.ensure_version(SPACE, made.id, compiled(digest))
        numbers.append(version.number)
        assert revision == (await store.get_workflow(SPACE, made.id)).revision
    assert numbers == [1, 2, 1, 3]


async def test_a_new_presentation_replaces_the_old_one(store: Store) -> None:
    made = await store.create_workflow(workflow())
    first, _ = await store.ensure_version(SPACE, made.id, compiled("d", b'{"old":1}'))
    await store.update_workflow(SPACE, made.id, {"name": "x"})
    second, _ = await store.ensure_version(SPACE, made.id, compiled("d", b'{"new":1}'))
    assert (second.id, second.presentation) == (first.id, b'{"new":1}')
    assert await store.get_versions([first.id]) == {first.id: second}


async def test_equal_digests_of_two_workflows_are_two_versions(store: Store) -> None:
    made = [await store.create_workflow(workflow(name)) for name in "ab"]
    versions = [(await store.ensure_version(SPACE, w.id, compiled("d")))[0] for w in made]
    assert versions[0].id != versions[1].id
    assert [version.number for version in versions] == [1, 1]


async def test_a_compiler_that_raises_leaves_nothing(store: Store) -> None:
    made = await store.create_workflow(workflow())
    with pytest.raises(Invalid):
        await store.ensure_version(SPACE, made.id, lambda draft, read: refuse(draft))  # type: ignore[arg-type, return-value]
    version, _ = await store.ensure_version(SPACE, made.id, compiled("d"))
    assert version.number == 1


async def test_versions_made_at_once_are_one(store: Store) -> None:
    made = await store.create_workflow(workflow())
    made_at_once = await asyncio.gather(*(store.ensure_version(SPACE, made.id, compiled("d")) for _ in range(10)))
    assert len({version.id for version, _ in made_at_once}) == 1


async def test_versions_stay_when_their_workflow_is_archived(store: Store) -> None:
    made = await store.create_workflow(workflow())
    version, _ = await store.ensure_version(SPACE, made.id, compiled("d"))
    await store.archive_workflow(SPACE, made.id)
    assert await store.get_versions([version.id]) == {version.id: version}


async def test_revisions_of_many_in_one_call(store: Store) -> None:
    first, second, gone = [await store.create_workflow(workflow(key, key=key)) for key in ("a", "b'%s", "c")]
    await add(store, second.id)
    await store.archive_workflow(SPACE, gone.id)
    asked: list[int | str] = [first.id, "b'%s", "c", gone.id, "a", 4711]
    expected = {first.id: (first.id, 1), "b'%s": (second.id, 2), "a": (first.id, 1)}
    assert await store.current_revisions(SPACE, asked) == expected
    assert await store.current_revisions(SPACE, []) == {}


async def test_an_edit_that_was_refused_is_not_remembered(store: Store) -> None:
    made = await store.create_workflow(workflow())
    task = await add(store, made.id)
    with pytest.raises(Invalid):
        await store.edit_tasks(SPACE, made.id, TaskEdit(refuse, task_id=task.id))
    await store.update_workflow(SPACE, made.id, {"name": "renamed"})
    assert (await store.get_workflow(SPACE, made.id)).tasks == (task,)


async def test_a_change_by_another_hand_is_seen(store: Store, store_url: str) -> None:
    made = await store.create_workflow(workflow())
    await add(store, made.id)
    sql(store_url, "UPDATE task SET name = 'theirs'")
    sql(store_url, "UPDATE workflow SET revision = revision + 1")
    assert [task.name for task in (await store.get_workflow(SPACE, made.id)).tasks] == ["theirs"]


@pytest.mark.parametrize("fields", [{"order": 2**70}, {"name": "\ud800"}], ids=str)
async def test_what_no_column_can_hold_is_refused(store: Store, fields: dict[str, Any]) -> None:
    made = await store.create_workflow(workflow())
    with pytest.raises(Invalid):
        await store.edit_tasks(SPACE, made.id, adds(**fields))
    with pytest.raises(Invalid):
        await store.create_workflow(workflow("\ud800"))
    with pytest.raises(Invalid):
        await store.update_workflow(SPACE, made.id, {"description": "\ud800"})
    assert await store.get_workflow(SPACE, made.id) == made


# --- documents and their versions ---


async def test_a_source_takes_the_place_of_the_tasks(store: Store) -> None:
    made = await store.create_workflow(workflow())
    await add(store, made.id)
    changed = await store.update_workflow(
        SPACE, made.id, {"dialect": "steps", "source": b"{}", "max_concurrency": 3, "timeout": 2.5}
    )
    assert (changed.dialect, changed.source, changed.tasks, changed.max_concurrency) == ("steps", b"{}", (), 3)
    assert (changed.timeout, (await store.get_workflow(SPACE, made.id)).timeout) == (2.5, 2.5)
    assert await store.get_workflow(SPACE, made.id) == changed


async def test_versions_are_listed_newest_first_and_one_is_current(store: Store) -> None:
    made = await store.create_workflow(workflow(key="k"))
    assert await store.list_versions(SPACE, "k", 10) == []
    for digest in ("a", "b", "a"):
        await store.update_workflow(SPACE, made.id, {"name": digest})
        await store.ensure_version(SPACE, made.id, compiled(digest))
    rows = await store.list_versions(SPACE, "k", 10)
    assert [(row.number, row.digest, row.current) for row in rows] == [(2, "b", False), (1, "a", True)]
    assert [row.number for row in await store.list_versions(SPACE, "k", 1)] == [2]
    await store.update_workflow(SPACE, made.id, {"name": "changed"})
    assert not any(row.current for row in await store.list_versions(SPACE, made.id, 10))


async def test_a_version_is_found_by_its_number(store: Store) -> None:
    made = await store.create_workflow(workflow(key="k"))
    other = await store.create_workflow(workflow())
    version, _ = await store.ensure_version(SPACE, made.id, compiled("a"))
    assert await store.get_version(SPACE, "k", 1) == version
    for ref, number in ((made.id, 2), (other.id, 1), (made.id, 2**80), (made.id, -1)):
        with pytest.raises(VersionNotFound):
            await store.get_version(SPACE, ref, number)
    for use in (store.list_versions(SPACE, "nothing", 1), store.get_version(SPACE, "nothing", 1)):
        with pytest.raises(WorkflowNotFound):
            await use
