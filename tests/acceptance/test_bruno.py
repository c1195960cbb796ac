"""The Bruno collection, run by the Bruno CLI against a running service."""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.processes import ROOT
from tests.acceptance.serving import Served

FOLDER = ROOT / "tests" / "bruno_cli"
BRU = FOLDER / "node_modules" / "@usebruno" / "cli" / "bin" / "bru.js"


def test_the_collection_passes(served: Served) -> None:
    _install()
    command = [_program("node"), str(BRU), "run", "--env", "local", "--env-var", f"baseUrl={served.rest_url}"]
    # the developer sandbox is node itself: the safe one evaluates under a time limit that a busy machine exceeds
    command += ["--noproxy", "--sandbox", "developer"]
    done = subprocess.run(command, cwd=ROOT / "bruno", capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    walked = [path.stem for path in (ROOT / "bruno").glob("[0-9]*.bru")]
    assert [name for name in walked if name not in done.stdout] == []
    assert len(walked) == 39


def _install() -> None:
    """Once per checkout, from the lock file."""
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = FOLDER / "node_modules" / ".done"
        if done.exists() and done.read_text() == (FOLDER / "package-lock.json").read_text():
            return
        command = [_program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        run = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=500, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        done.write_text((FOLDER / "package-lock.json").read_text())


def _program(name: str) -> str:
    """From the PATH, or from the wheel that brings node."""
    found = shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)
    assert found is not None, f"{name} is neither on the PATH nor in {Path(sys.executable).parent}"
    return found
