"""Starts the service, has an order approved, kills the service twice, and shows that nothing is lost."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from demo import story, timeline
from demo.shop import Shop, shop
from deploy.health import grpc_is_up, rest_is_up
from deploy.processes import ROOT, Process
from deploy.servers import free_port


class Demo:
    """One service on free ports and an empty SQLite file, and its user."""

    def __init__(self, folder: Path) -> None:
        rest, grpc = free_port(), free_port()
        self.rest = f"http://127.0.0.1:{rest}"
        self.grpc = f"127.0.0.1:{grpc}"
        database = f"sqlite:///{folder / 'demo.db'}"
        arguments = ["cli.py", "serve", "--rest-port", str(rest), "--grpc-port", str(grpc), "--database-url", database]
        settings = {"LOG_LEVEL": "warning", "WORKFLOWS_DIR": str(ROOT / "workflows")}
        self.server = Process("serve", arguments, settings, folder / "serve.log")

    def start(self) -> float:
        """Seconds until both doors answer."""
        began = time.monotonic()
        self.server.start()
        self.server.wait_ready(lambda: rest_is_up(f"{self.rest}/ping"))
        self.server.wait_ready(lambda: grpc_is_up(self.grpc))
        return time.monotonic() - began

    def request(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.rest + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def define(self, name: str, rows: list[dict[str, Any]]) -> int:
        workflow: int = self.request("POST", "/workflows/", {"name": name})["id"]
        for row in rows:
            self.request("POST", f"/workflows/{workflow}/tasks/", row)
        return workflow

    def cli(self, *words: str, capture: bool = False) -> str:
        """Runs `python cli.py …` as the user would; raises if it fails."""
        say(f"$ python cli.py {' '.join(word if ' ' not in word else repr(word) for word in words)}")
        command = [sys.executable, "cli.py", *words]
        environment = {"REST_API_URL": self.rest, "GRPC_API_URL": self.grpc}
        out = subprocess.PIPE if capture else None
        done = subprocess.run(command, cwd=ROOT, env=_environment(environment), text=True, stdout=out, check=False)
        if done.returncode:
            raise RuntimeError(f"it ended with exit code {done.returncode}\n{self.server.tail()}")
        return done.stdout or ""

    def execute(self, workflow: int | str, value: Any) -> int:
        """Over gRPC; answers the execution's id."""
        answer = json.loads(self.cli("execute", str(workflow), "--input", json.dumps(value), "--json", capture=True))
        return int(answer["execution_id"])

    def wait_for(self, execution: int, task: str, status: str) -> bool:
        """Whether the task has the status within a few seconds."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if any(step["key"] == task and step["status"] == status for step in self.steps(execution)):
                return True
            time.sleep(0.02)
        return False

    def steps(self, execution: int) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = self.request("GET", f"/executions/{execution}/steps")
        return steps

    def events(self, execution: int) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = self.request("GET", f"/executions/{execution}/events?limit=1000")["items"]
        return events


def _environment(more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, **more}


def say(text: str = "") -> None:
    print(text, flush=True)


def title(text: str) -> None:
    say(f"\n── {text} {'─' * (76 - len(text))}")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="millrace-demo-") as folder, shop(seconds=0.2) as services:
        demo = Demo(Path(folder))
        try:
            return tell(demo, services)
        except (RuntimeError, urllib.error.URLError, OSError) as error:
            say(f"\nThe demo failed: {error}\n{demo.server.tail()}")
            return 1
        finally:
            demo.server.stop()


def tell(demo: Demo, services: Shop) -> int:
    title("one process: REST, gRPC, engine, SQLite")
    say(f"started in {demo.start():.1f} s   REST {demo.rest}   gRPC {demo.grpc}")
    title("workflows/order-processing.yaml, registered at start, executed over gRPC")
    execution = demo.execute("order-processing", story.order(services.url))
    waited = demo.wait_for(execution, "manager", "waiting")
    demo.cli("approvals")
    title("kill -9 while it waits for a person")
    demo.server.kill()
    say(f"killed process {demo.server.pid}; started again in {demo.start():.1f} s on the same file")
    demo.cli("approve", str(execution), "manager", "--by", "eve", "--comment", "a good customer")
    demo.cli("watch", str(execution))
    title("what really happened, by the database's clock")
    steps, events = demo.steps(execution), demo.events(execution)
    say(timeline.draw(steps))
    say(f"\n  the shop was asked: {', '.join(what for what, _ in services.asked)}")
    return verdict(
        {
            "all seven tasks of the order completed, each once": len(timeline.completed(events)) == 7
            and not timeline.run_twice(events),
            "stock and risk were looked at beside each other": timeline.overlapping(steps),
            "its wait for a person survived kill -9": waited and events[-1]["type"] == "ExecutionCompleted",
            "a busy bank was asked again, and paid once": len(services.did("payment refused")) == 1
            and len(services.did("payments")) == 1,
            **crash(demo),
        }
    )


def crash(demo: Demo) -> dict[str, bool]:
    title("kill -9 in the middle of a second execution")
    execution = demo.execute(demo.define("Slow", story.slow_tasks()), {})
    deadline = time.monotonic() + 20
    while len(timeline.completed(demo.events(execution))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    before = timeline.completed(demo.events(execution))
    demo.server.kill()
    say(f"killed process {demo.server.pid}; completed and durable by then: {', '.join(before)}")
    say(f"started again in {demo.start():.1f} s on the same file")
    demo.cli("watch", str(execution))
    events = demo.events(execution)
    again = [event["task"] for event in events if event["type"] == "TaskStarted" and event.get("attempt", 1) > 1]
    say(f"attempts lost with the process and started again: {', '.join(again) or 'none'}")
    return {
        "the killed execution completed": events[-1]["type"] == "ExecutionCompleted",
        "the process was killed in the middle": 0 < len(before) < len(timeline.completed(events)),
        "no completed task ran twice": not timeline.run_twice(events) and not set(before) & set(again),
    }


def verdict(checks: dict[str, bool]) -> int:
    title("verdict")
    for text, holds in checks.items():
        say(f"  {'✔' if holds else '✘'} {text}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
