"""The deployed set-up: PostgreSQL, Redis, two REST doors, two gRPC servers with an engine each, a worker of RQ."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from deploy.health import grpc_is_up, rest_is_up
from deploy.processes import ROOT, Process
from deploy.servers import free_port
from deploy.stack import Stack
from tests import servers
from tests.ledger import Ledger

LEASE = "1"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with (
        servers.database() as database_url,
        Stack(
            [free_port(), free_port()],
            [free_port(), free_port()],
            database_url=database_url,
            redis_url=servers.redis_server(),
            workers=1,
            settings={"LEASE_SECONDS": LEASE, "INSTALLATION": "stack"},
        ) as stack,
    ):
        yield stack


def cli(stack: Stack, *words: str, door: int = 0) -> Any:
    """What `python cli.py <words> --json` says through one of the REST doors and gRPC servers."""
    environment = {**os.environ, "REST_API_URL": stack.rest_urls[door], "GRPC_API_URL": stack.grpc_targets[door]}
    command = [sys.executable, "cli.py", *words, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def get(url: str) -> tuple[Any, str]:
    """The JSON, and what the cache says."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer), answer.headers["X-Cache"]


def test_what_is_defined_at_one_door_runs_and_is_seen_at_the_other(stack: Stack) -> None:
    workflow = cli(stack, "create", "Across doors", door=0)["id"]
    cli(stack, "add-task", str(workflow), "First", "--key", "first", "--parameters", '{"n": 1}', door=1)
    parameters = json.dumps({"m": "{{tasks.first.output.n}}"})
    cli(stack, "add-task", str(workflow), "Second", "--key", "second", "--parameters", parameters, door=0)
    execution = cli(stack, "execute", str(workflow), "--wait", "10", door=0)["execution_id"]
    seen = cli(stack, "status", str(execution), door=1)
    assert seen["status"] == "completed"
    assert seen["output"] == {"second": {"m": 1}}


def test_one_execution_may_run_here_and_on_workers(stack: Stack, tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        workflow = str(cli(stack, "create", "Mixed")["id"])
        call = json.dumps({"url": f"{ledger.url}/slow?delay=0.5", "method": "POST"})
        far = ("--type", "http_request", "--executor", "rq", "--key", "far", "--parameters", call)
        cli(stack, "add-task", workflow, "On the worker", *far)
        cli(
            stack, "add-task", workflow, "In the engine", "--parameters", '{"calls": "{{tasks.far.output.body.calls}}"}'
        )
        started = cli(stack, "execute", workflow)
        stack.grpc[0].wait_ready(lambda: len(ledger.effects()) == 1)
        with redis.Redis.from_url(stack.redis_url) as server:
            assert server.keys("rq:job:stack-e*-tfar-i-a1")
        stack.grpc[0].wait_ready(
            lambda: bool(cli(stack, "status", str(started["execution_id"]))["status"] == "completed")
        )


def test_no_door_serves_less_than_another_has_written(stack: Stack) -> None:
    workflow = cli(stack, "create", "Before", door=0)["id"]
    urls = [f"{url}/workflows/{workflow}" for url in stack.rest_urls]
    for url in urls:
        get(url)
    assert [get(url)[1] for url in urls] == ["hit", "hit"]
    for name, door in (("Once", 0), ("Twice", 1)):
        body = json.dumps({"name": name}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(urls[door], body, headers, method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        assert [get(url)[0]["name"] for url in urls] == [name, name]


def test_the_second_engine_finishes_what_the_first_one_began(stack: Stack, tmp_path: Path) -> None:
    """Kills one of the two; each task that was completed before has had one effect, at the end nothing is missing."""
    with Ledger(tmp_path) as ledger:
        workflow = cli(stack, "create", "Taken over")["id"]
        for number in range(6):
            call = json.dumps({"url": f"{ledger.url}/{number}?delay=0.3", "method": "POST"})
            cli(stack, "add-task", str(workflow), f"call {number}", "--type", "http_request", "--parameters", call)
        execution = cli(stack, "execute", str(workflow), door=0)["execution_id"]
        victim = stack.grpc[0]
        victim.wait_ready(lambda: len(ledger.by_task()) >= 2)
        victim.kill()
        try:
            survivor = stack.grpc[1]
            survivor.wait_ready(lambda: bool(cli(stack, "status", str(execution), door=1)["status"] == "completed"))
        finally:
            victim.start()
            victim.wait_ready(lambda: grpc_is_up(stack.grpc_targets[0]))
        effects = ledger.by_task()
        assert len(effects) == 6
        assert sum(len(calls) for calls in effects.values()) <= 7


def test_make_stack_starts_again_what_was_killed(tmp_path: Path) -> None:
    """As compose does: who tries what `kill -9` does must not lose the store with it."""
    log = tmp_path / "log"
    settings = {"REST_PORT": str(free_port()), "GRPC_PORT": str(free_port())}
    with Process("stack", ["-m", "deploy.stack"], settings, log) as process:
        process.wait_ready(lambda: "Ctrl-C" in log.read_text())
        (logs,) = re.findall(r"^logs +(\S+)", log.read_text(), re.MULTILINE)
        said = Path(logs, "worker-1.log")
        first = worker_of(said)
        os.kill(first, signal.SIGKILL)
        process.wait_ready(lambda: worker_of(said) != first)
        assert "worker-1 was ended, and is started again" in log.read_text()
        servers = {"redis": "redis-server", "postgres": "postgres"}
        for name, program in servers.items():
            os.kill(child_of(process.pid, program), signal.SIGKILL)
            told = f"{name} was ended, and is started again"
            process.wait_ready(lambda told=told: told in log.read_text())  # type: ignore[misc]
        (rest,) = re.findall(r"^REST +(\S+)", log.read_text(), re.MULTILINE)
        process.wait_ready(lambda: rest_is_up(f"{rest}/health"), 60)
        process.send(signal.SIGINT)
        assert process.wait() == 0


def child_of(parent: int, program: str) -> int:
    """The process id of the program of this name that `parent` started (Linux)."""
    stats = [path.read_text().split() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    return next(int(row[0]) for row in stats if row[1] == f"({program})" and int(row[3]) == parent)


def worker_of(log: Path) -> int:
    """The process id of the worker that was ready last."""
    return int(re.findall(r"worker ready .*name=\S+?-(\d+)-", log.read_text())[-1])


def test_make_stack_prints_addresses_and_leaves_nothing_behind(tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = {"REST_PORT": str(free_port()), "GRPC_PORT": str(free_port())}
    with Process("stack", ["-m", "deploy.stack"], settings, log) as process:
        process.wait_ready(lambda: "Ctrl-C" in log.read_text())
        (rest,) = re.findall(r"^REST +(\S+)", log.read_text(), re.MULTILINE)
        (logs,) = re.findall(r"^logs +(\S+)", log.read_text(), re.MULTILINE)
        assert get(f"{rest}/ping")
        process.send(signal.SIGINT)
        assert process.wait() == 0
    assert not Path(logs).exists()
    with pytest.raises(OSError, match="refused"):
        get(f"{rest}/ping")
