"""Load generators run in processes of their own; this is all that they import of us."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def ask(module: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Runs `python -m benchmarks.<module>` with `spec` on its standard input; the JSON that it answers.

    Raises `RuntimeError` with the end of what it complained about.
    """
    command = [sys.executable, "-m", f"benchmarks.{module}"]
    done = subprocess.run(command, input=json.dumps(spec), capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-2_000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
