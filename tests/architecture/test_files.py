"""What may stand in the repository, and that its tables agree with each other."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.architecture.repository import ROOT, tracked

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$|/migrations/versions/")
EXACT = re.compile(r"^[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^ ;]+( ; .+)?$")
REGISTRIES = ("py" + "pi.org", "python" + "hosted.org", "registry." + "npmjs.org", "registry." + "yarnpkg.com")


def sources() -> list[Path]:
    return [path for path in tracked("*.py") if not GENERATED.search(str(path))]


def test_files_are_short() -> None:
    lines = {str(path): (ROOT / path).read_text().count("\n") for path in sources()}
    assert {path: count for path, count in lines.items() if count > 500} == {}


def test_functions_are_short() -> None:
    assert [f"{path}: {name}" for path in sources() for name in long_functions(path)] == []


def long_functions(path: Path) -> list[str]:
    tree = ast.parse((ROOT / path).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= 60]


def test_no_file_names_a_registry_or_this_machine() -> None:
    here = {str(ROOT), str(Path.home()), str(Path(sys.prefix))} - {"/", "/root"}
    hosts = {*REGISTRIES, *re.findall(r"//(?:[^/@\s]*@)?([^/:\s]+)", os.environ.get("PIP_INDEX_URL", ""))}
    pattern = re.compile("|".join(re.escape(text) for text in sorted(here | hosts)))
    texts = {path: (ROOT / path).read_bytes().decode(errors="replace") for path in tracked()}
    assert [str(path) for path, text in texts.items() if pattern.search(text)] == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_exact(name: str) -> None:
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.lstrip().startswith("#")]
    assert lines
    assert [line for line in lines if not EXACT.match(line)] == []


def test_the_lock_holds_what_the_project_asks_for() -> None:
    wanted = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    groups = PROJECT["dependency-groups"]
    for_work = [Requirement(text) for text in [*groups["dev"], *groups["ray"]] if isinstance(text, str)]
    runtime, development = locked("requirements.txt"), locked("requirements-dev.txt")
    assert [r.name for r in wanted if not r.specifier.contains(runtime[canonical(r.name)])] == []
    assert [r.name for r in for_work if not r.specifier.contains(development[canonical(r.name)])] == []
    assert runtime.items() <= development.items()


def locked(name: str) -> dict[str, str]:
    """Version by package."""
    pairs = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\n]+)", (ROOT / name).read_text(), re.MULTILINE)
    return {canonical(package): version for package, version in pairs}


def canonical(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def test_make_help_lists_every_target() -> None:
    (line,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    printed = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.findall(r"^  make (\S+)", printed.stdout, re.MULTILINE) == line.split()


def test_the_generated_stubs_are_those_of_the_contract(tmp_path: Path) -> None:
    contract = "proto/workflow/v1/workflow.proto"
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, contract]
    subprocess.run(command, cwd=ROOT, check=True)
    made = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.py*")]
    assert len(made) == 3
    assert [str(path) for path in made if (ROOT / path).read_text() != (tmp_path / path).read_text()] == []
