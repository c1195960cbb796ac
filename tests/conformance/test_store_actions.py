"""Actions in every store, and what their change means to the drafts that refer to them."""

import asyncio

import pytest

from engine.actions import NewAction, ReadActions
from engine.errors import KeyTaken
from engine.model import Workflow
from engine.ports import Compiled, Store
from storage.drafts import CompileDraft
from tests.stores import SPACE, workflow

FETCH = NewAction("fetch", "http_request", {"url": "https://example.com/ü", "query": {"n": 1}}, "for people")


def reads(*names: str) -> CompileDraft:
    """Compiles to what the actions are."""

    def compile_draft(draft: Workflow, read: ReadActions) -> Compiled:
        found = read(names)
        digest = ",".join(f"{name}={found[name].config}" if name in found else name for name in names)
        return Compiled(digest, b"{}", b"{}", names)

    return compile_draft


async def test_an_action_is_kept_as_it_was_written(store: Store) -> None:
    made = await store.create_action(SPACE, FETCH)
    assert (made.name, made.handler_type, made.config, made.description) == (
        FETCH.name,
        FETCH.handler_type,
        FETCH.config,
        FETCH.description,
    )
    assert made.created_at == made.updated_at
    assert await store.get_actions(SPACE, ["fetch", "none"]) == {"fetch": made}
    assert await store.get_actions(SPACE, []) == {}
    assert await store.get_actions("elsewhere", ["fetch"]) == {}


async def test_a_name_is_taken_once_in_a_namespace(store: Store) -> None:
    await store.create_action(SPACE, FETCH)
    with pytest.raises(KeyTaken):
        await store.create_action(SPACE, NewAction("fetch", "noop"))
    await store.create_action("elsewhere", NewAction("fetch", "noop"))
    assert (await store.get_actions(SPACE, ["fetch"]))["fetch"].handler_type == "http_request"


async def test_fields_are_changed_one_by_one(store: Store) -> None:
    made = await store.create_action(SPACE, FETCH)
    changed = await store.update_action(SPACE, "fetch", {"config": {}, "description": None})
    assert changed is not None
    assert (changed.handler_type, changed.config, changed.description) == ("http_request", {}, None)
    assert (changed.created_at, changed.updated_at >= made.updated_at) == (made.created_at, True)
    assert await store.update_action(SPACE, "none", {"config": {}}) is None
    assert await store.update_action("elsewhere", "fetch", {"config": {}}) is None


async def test_actions_are_listed_by_name_and_deleted_once(store: Store) -> None:
    for name in ("b", "a", "c"):
        await store.create_action(SPACE, NewAction(name, "noop"))
    page, total = await store.list_actions(SPACE, 1, 1)
    assert ([action.name for action in page], total) == (["b"], 3)
    assert await store.delete_action(SPACE, "b")
    assert not await store.delete_action(SPACE, "b")
    assert [action.name for action in (await store.list_actions(SPACE, 0, 10))[0]] == ["a", "c"]
    assert await store.list_actions("elsewhere", 0, 10) == ([], 0)


async def test_a_change_makes_the_drafts_new_that_refer_to_it(store: Store) -> None:
    using = await store.create_workflow(workflow(key="using"))
    other = await store.create_workflow(workflow(key="other"))
    first, _ = await store.ensure_version(SPACE, "using", reads("fetch", "gone"))
    await store.ensure_version(SPACE, "other", reads("else"))

    async def revisions() -> list[int]:
        found = await store.current_revisions(SPACE, [using.id, other.id])
        return [found[using.id][1], found[other.id][1]]

    assert await revisions() == [1, 1]
    await store.create_action(SPACE, FETCH)
    await store.create_action("elsewhere", NewAction("gone", "noop"))
    assert await revisions() == [2, 1]
    second, _ = await store.ensure_version(SPACE, "using", reads("fetch", "gone"))
    assert (first.digest, second.number) == ("fetch,gone", 2)
    assert await store.get_workflow(SPACE, "using") == (await store.get_workflow(SPACE, using.id))
    await store.update_action(SPACE, "fetch", {"config": {}})
    assert await revisions() == [3, 1]
    await store.delete_action(SPACE, "fetch")
    assert await revisions() == [4, 1]
    again, _ = await store.ensure_version(SPACE, "using", reads("fetch", "gone"))
    assert again.id == first.id
    await store.ensure_version(SPACE, "other", reads())
    await store.create_action(SPACE, NewAction("else", "noop"))
    assert await revisions() == [4, 2]


async def test_a_version_made_while_its_action_changes_is_not_kept_for_long(store: Store) -> None:
    """Whatever the order of the commits: in the end the version is made of the action as it is."""
    await store.create_action(SPACE, NewAction("a", "noop", {"n": 0}))
    made = [await store.create_workflow(workflow()) for _ in range(8)]

    async def change() -> None:
        for number in range(1, 6):
            await store.update_action(SPACE, "a", {"config": {"n": number}})

    async def compile_often(number: int) -> None:
        for _ in range(5):
            await store.ensure_version(SPACE, number, reads("a"))

    await asyncio.gather(change(), *(compile_often(one.id) for one in made))
    digests = {(await store.ensure_version(SPACE, one.id, reads("a")))[0].digest for one in made}
    assert digests == {"a={'n': 5}"}
