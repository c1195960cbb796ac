"""The settings, their example file and the deployment say the same."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.settings import Settings
from tests.architecture.repository import ROOT

KNOWN = {name.upper() for name in Settings.model_fields}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == COMPOSE["name"]}
CONDITIONS = {"service_healthy": "healthcheck", "service_completed_successfully": "command"}


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_example_holds_every_setting_and_no_other() -> None:
    assert set(example()) == KNOWN


def test_the_example_holds_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    bare = Settings()
    (tmp_path / ".env").write_bytes((ROOT / ".env.example").read_bytes())
    assert Settings() == bare


def test_each_line_of_the_example_is_explained() -> None:
    text = (ROOT / ".env.example").read_text()
    assert len(re.findall(r"^# .+\n[A-Z_]+=", text, re.MULTILINE)) == len(example())
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_compose_file_has_the_promised_services() -> None:
    images = {name: service["image"] for name, service in COMPOSE["services"].items()}
    assert images["postgres"].startswith("postgres:17")
    assert images["redis"].startswith("redis:7.2")
    assert {"migrate", "api", "grpc_server", "worker", "ray-head", "ray-worker"} == set(OURS)
    assert {name for name, service in OURS.items() if "profiles" in service} == {"ray-head", "ray-worker"}


@pytest.mark.parametrize("name", OURS)
def test_our_services_use_settings_that_exist(name: str) -> None:
    assert set(OURS[name]["environment"]) <= KNOWN


def test_the_image_uses_settings_that_exist() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    set_there = set(re.findall(r"^(?:ENV| {4})\s*([A-Z_]+)=", dockerfile, re.MULTILINE))
    assert set_there - {"PATH", "PYTHONUNBUFFERED"} <= KNOWN


@pytest.mark.parametrize("name", OURS)
def test_commands_lead_to_files(name: str) -> None:
    commands = [OURS[name][part] for part in ("entrypoint", "command") if part in OURS[name]]
    commands += [OURS[name]["healthcheck"]["test"][1:]] if "healthcheck" in OURS[name] else []
    assert commands
    assert [command for command in commands if not entry_file(command).is_file()] == []


def test_the_image_starts_a_file_that_exists() -> None:
    (command,) = re.findall(r"^CMD (\[.+\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert entry_file(yaml.safe_load(command)).is_file()


def entry_file(command: list[str]) -> Path:
    """The file that a command line of ours begins with."""
    match command:
        case ["python", "-m", module, *_]:
            path = ROOT / module.replace(".", "/")
            return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        case ["uvicorn", target, *_]:
            return (ROOT / target.partition(":")[0].replace(".", "/")).with_suffix(".py")
        case ["python", file, *_]:
            return ROOT / file
        case _:
            raise AssertionError(f"a command of an unknown kind: {command}")


def test_services_wait_for_what_they_need() -> None:
    waits: list[tuple[str, dict[str, Any]]] = [
        (other, condition) for service in OURS.values() for other, condition in service.get("depends_on", {}).items()
    ]
    assert waits
    assert [other for other, wait in waits if CONDITIONS[wait["condition"]] not in COMPOSE["services"][other]] == []


def test_named_volumes_are_declared() -> None:
    used = {volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])
