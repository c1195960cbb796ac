"""Every example of the README runs as it is written, in order, against one running service."""

import os
import re
import subprocess
import sys
from pathlib import Path

from deploy.health import grpc_is_up, rest_is_up
from deploy.processes import ROOT, Process
from deploy.servers import free_port

BLOCK = re.compile(r"<!-- run -->\n```(bash|python)\n(.*?)```", re.DOTALL)


def test_the_readme_begins_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.index("make demo") < text.index("make test") < text.index("## ")


def test_every_example_of_the_readme_runs(tmp_path: Path, sqlite_url: str) -> None:
    rest, grpc = free_port(), free_port()
    arguments = ["cli.py", "serve", "--rest-port", str(rest), "--grpc-port", str(grpc), "--database-url", sqlite_url]
    with Process("serve", arguments, {}, tmp_path / "serve.log") as server:
        server.wait_ready(lambda: rest_is_up(f"http://localhost:{rest}/ping"))
        server.wait_ready(lambda: grpc_is_up(f"localhost:{grpc}"))
        blocks = BLOCK.findall((ROOT / "README.md").read_text())
        assert len(blocks) >= 3
        settings = {"REST_API_URL": f"http://localhost:{rest}", "GRPC_API_URL": f"localhost:{grpc}"}
        for language, text in blocks:
            code = text.replace("localhost:8000", f"localhost:{rest}").replace("localhost:50051", f"localhost:{grpc}")
            said = run(language, code, settings)
            assert "problem" not in said


def run(language: str, code: str, settings: dict[str, str]) -> str:
    """What it prints; fails with that if any of its commands fails."""
    environment = {**os.environ, **settings, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout
