"""The rooms stand as designed, and the linter that says so sees all of them and can say no."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.architecture.repository import ROOT, tracked

CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]

SABOTAGE = {
    "a room imports only rooms below it": ("engine/model.py", "import storage.tables"),
    "floors inside the engine": ("engine/planner.py", "import engine.service"),
    "nothing goes round in circles": ("egress/addresses.py", "import egress.client"),
    "the engine knows no door, no database, no library of a plug-in": ("engine/states.py", "import sqlalchemy"),
    "a plug-in does not know its neighbours": ("nodes/delay.py", "import nodes.noop"),
    "only the doors speak gRPC": ("nodes/noop.py", "import grpc"),
    "only the REST door knows FastAPI": ("commands/rest.py", "import fastapi"),
    "only storage speaks SQL, and egress to databases that are not ours": ("nodes/noop.py", "import sqlmodel"),
    "only egress calls out": ("nodes/http_request.py", "import aiohttp"),
    "only the cache, the publisher and the RQ executor speak to Redis": ("nodes/noop.py", "import redis"),
    "only the RQ executor knows RQ": ("nodes/noop.py", "import rq"),
    "only its executor speaks to Ray": ("executors/ray_executor.py", "import ray"),
    "only the sandbox knows Monty": ("nodes/noop.py", "import pydantic_monty"),
}

BY_NOBODY = {"importlib.metadata", "importlib.resources"}
"""Parts of importlib that import nothing."""


def rooms() -> set[str]:
    """Top-level folders that hold Python, tests apart."""
    return {path.parts[0] for path in tracked("*.py") if len(path.parts) > 1} - {"tests"}


def test_the_linter_sees_every_room() -> None:
    assert set(CONFIG["root_packages"]) == rooms()


def test_every_room_stands_on_a_floor() -> None:
    (floors,) = (c["layers"] for c in CONFIG["contracts"] if c["name"] == "a room imports only rooms below it")
    assert {room.strip() for floor in floors for room in floor.split("|")} == rooms()


def test_every_contract_can_be_broken(tmp_path: Path) -> None:
    """A copy with one forbidden import for each contract: the linter names each of them."""
    assert set(SABOTAGE) == {contract["name"] for contract in CONFIG["contracts"]}
    for path in [*tracked("*.py"), Path("pyproject.toml")]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    assert lint(tmp_path).returncode == 0
    for file, line in SABOTAGE.values():
        with (tmp_path / file).open("a") as source:
            source.write(f"\n{line}\n")
    verdicts = " ".join(lint(tmp_path).stdout.split())
    assert [name for name in SABOTAGE if f"{name} BROKEN" not in verdicts] == []


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_only_the_registry_imports_by_name() -> None:
    product = [path for path in tracked("*.py") if path.parts[0] != "tests"]
    found = [str(path) for path in product if imports_by_name(ast.parse((ROOT / path).read_text()))]
    assert found == ["engine/registry.py"]


def test_an_import_by_name_would_be_found() -> None:
    for code in ("import importlib", "from importlib import import_module", "__import__('x')", "import importlib.util"):
        assert imports_by_name(ast.parse(code))


def imports_by_name(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Name):
            names = [node.id]
        if any(name.split(".")[0] in {"importlib", "__import__"} and name not in BY_NOBODY for name in names):
            return True
    return False
