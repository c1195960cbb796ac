"""The files of a folder become workflows, and a broken one stops nothing else."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bootstrap.registration import Registration
from bootstrap.settings import Settings
from bootstrap.wiring import open_service
from engine.service import WorkflowService

GOOD = "name: nightly\ntasks:\n  - id: a\n    type: noop\n"


@pytest.fixture
async def service(sqlite_url: str) -> AsyncIterator[WorkflowService]:
    async with open_service(Settings(database_url=sqlite_url), engine=False) as service:
        yield service


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def files(service: WorkflowService, folder: Path) -> Registration:
    return Registration(service, folder)


def write(path: Path, text: str) -> None:
    """With another time than before."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))


async def numbers(service: WorkflowService, key: str) -> list[tuple[int, bool]]:
    return [(row.number, row.current) for row in await service.list_versions(key, 10)]


async def test_each_file_is_a_workflow_by_its_key(files: Registration, folder: Path, service: WorkflowService) -> None:
    write(folder / "a.yaml", GOOD)
    write(folder / "b.yml", "key: by-key\nname: Any Name\ntasks: []\n")
    write(folder / "by-file.json", '{"name": "No key", "steps": {}}')
    write(folder / "README.md", "no workflow")
    (folder / "sub.yaml").mkdir()
    await files.look()
    page, total = await service.list_workflows(0, 10)
    assert [(w.key, w.dialect) for w in page] == [
        ("nightly", "yaml_tasks"),
        ("by-key", "yaml_tasks"),
        ("by-file", "steps"),
    ]
    assert total == 3
    assert files.health() == "ok"


async def test_processes_that_start_at_once_read_the_same_folder(service: WorkflowService, folder: Path) -> None:
    """One makes the workflow; the others find it, and have no problem to tell."""
    write(folder / "a.yaml", GOOD)
    files = [Registration(service, folder) for _ in range(3)]
    await asyncio.gather(*(each.look() for each in files))
    assert [each.health() for each in files] == ["ok"] * 3
    assert await numbers(service, "nightly") == [(1, True)]


async def test_only_a_new_meaning_is_a_new_version(files: Registration, folder: Path, service: WorkflowService) -> None:
    write(folder / "a.yaml", GOOD)
    await files.look()
    first = await service.get_workflow("nightly")
    await Registration(files._service, folder).look()
    assert await service.get_workflow("nightly") == first
    write(folder / "a.yaml", "# a comment\n" + GOOD)
    await files.look()
    assert (await service.get_workflow("nightly")).revision == first.revision + 1
    assert await numbers(service, "nightly") == [(1, True)]
    write(folder / "a.yaml", GOOD.replace("noop", "set"))
    await files.look()
    assert await numbers(service, "nightly") == [(2, True), (1, False)]
    write(folder / "a.yaml", GOOD)
    await files.look()
    assert await numbers(service, "nightly") == [(2, False), (1, True)]


async def test_a_broken_file_is_told_and_stops_nothing(
    files: Registration, folder: Path, service: WorkflowService
) -> None:
    write(folder / "1-syntax.yaml", "a: [1\n")
    write(folder / "2-meaning.yaml", "tasks:\n  - id: a\n    type: nop\n")
    write(folder / "3-good.yaml", GOOD)
    write(folder / "4-twice.yaml", GOOD)
    write(folder / "5-large.json", " " * 3_000_000)
    (folder / "6-gone.yaml").symlink_to(folder / "nowhere")
    await files.look()
    assert [w.key for w in (await service.list_workflows(0, 10))[0]] == ["nightly"]
    assert set(files.problems) == {"1-syntax.yaml", "2-meaning.yaml", "4-twice.yaml", "5-large.json"}
    assert "2-meaning.yaml: line 3: unknown node type 'nop', did you mean 'noop'?" in files.health()
    assert "3-good.yaml has the same key 'nightly'" in files.problems["4-twice.yaml"]
    write(folder / "2-meaning.yaml", "tasks: []\n")
    (folder / "4-twice.yaml").unlink()
    await files.look()
    assert set(files.problems) == {"1-syntax.yaml", "5-large.json"}


async def test_a_folder_need_not_be_there(service: WorkflowService, tmp_path: Path) -> None:
    files = Registration(service, tmp_path / "nothing")
    await files.look()
    assert files.health() == "ok"


async def test_a_process_registers_at_start_and_tells_in_its_health(sqlite_url: str, folder: Path) -> None:
    write(folder / "a.yaml", GOOD)
    write(folder / "b.yaml", "tasks: 5\n")
    settings = Settings(database_url=sqlite_url, workflows_dir=str(folder))
    async with open_service(settings, engine=False) as service:
        assert (await service.get_workflow("nightly")).name == "nightly"
        health = await service.health()
        assert health.ok
        assert health.checks["workflows"].startswith("b.yaml: line 1: ")


async def test_changed_files_are_taken_in_if_that_is_wished(
    sqlite_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    monkeypatch.setattr("bootstrap.registration.LOOK", 0.01)
    settings = Settings(database_url=sqlite_url, workflows_dir=str(folder), workflows_reload=True)
    async with open_service(settings, engine=False) as service, asyncio.timeout(10):
        write(folder / "a.yaml", GOOD)
        while not (await service.list_workflows(0, 1))[1]:
            await asyncio.sleep(0.01)
