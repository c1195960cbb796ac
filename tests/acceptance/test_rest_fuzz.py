"""C25 in small: schemathesis over every operation of the running door, positive, negative and stateful.

No 5xx and nothing that the contract does not say. What the contract cannot say (a cycle, an unknown node type, NUL
in a key) may refuse a body that fits its schema; hence the one check that is left out. `N=300` for the whole.
"""

import os
import subprocess
import sys
from pathlib import Path

from deploy.health import is_up
from deploy.processes import Process
from deploy.servers import free_port

EXAMPLES = os.environ.get("N", "3")


def test_the_contract_holds(sqlite_url: str, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{(port := free_port())}"
    serve = ["-m", "uvicorn", "api.main:app", "--port", str(port), "--no-access-log"]
    with Process("api", serve, {"DATABASE_URL": sqlite_url}, tmp_path / "api.log") as api:
        api.wait_ready(lambda: is_up(f"{address}/ping"))
        done = fuzz(address, tmp_path)
        assert done.returncode == 0, done.stdout[-8000:] + api.tail()
        assert "request failed" not in api.log.read_text()
    assert "52 selected / 52 total" in done.stdout


def fuzz(address: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "schemathesis"
    options = [
        *("--max-examples", EXAMPLES, "--seed", "1", "--generation-database", "none", "--no-color"),
        *("--exclude-checks", "positive_data_acceptance", "--suppress-health-check", "all", "--warnings", "off"),
    ]
    command = [str(program), "run", f"{address}/openapi.json", "--url", address, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
