"""`python -m deploy.ray_node --head | --join HOST:PORT`: a node of a Ray cluster, until it is told to stop.

Its workers can import the code of this folder. The head listens on 6379, and on 10001 for engines that run where no
node is (`RAY_ADDRESS=ray://host:10001`). Needs the Python package ray.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120
"""Seconds that its processes have to start on a busy machine."""


def command(*options: str) -> list[str]:
    """`ray start`, which ends with its node, and takes its node along."""
    fixed = ["--block", "--disable-usage-stats", "--include-log-monitor", "false"]
    return [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *fixed]


def environment() -> dict[str, str]:
    """For a node, and for whoever speaks to one.

    Whoever has a token shows it: a head asks for one by itself when there is one, the others must be told.
    """
    token = "RAY_AUTH_TOKEN" in os.environ or (Path.home() / ".ray" / "auth_token").exists()
    return {
        "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token" if token else "disabled"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": str(PATIENCE),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
    }


def main(words: Sequence[str]) -> None:
    """Becomes `ray start`."""
    parser = argparse.ArgumentParser(prog="python -m deploy.ray_node", description=__doc__)
    role = parser.add_mutually_exclusive_group(required=True)
    role.add_argument("--head", action="store_true")
    role.add_argument("--join", metavar="HOST:PORT")
    asked = parser.parse_args(words)
    options = ["--head", "--port", "6379", "--include-dashboard", "false"] if asked.head else ["--address", asked.join]
    line = command(*options)
    os.execve(line[0], line, {**os.environ, **environment()})


if __name__ == "__main__":
    main(sys.argv[1:])
