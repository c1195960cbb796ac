"""A really running `cli.py serve` on free ports and a SQLite file, and its three kinds of callers."""

import http.client
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import grpc
import pytest

import cli
from deploy.processes import ROOT, Process
from proto.workflow.v1 import workflow_pb2 as pb
from proto.workflow.v1.workflow_pb2_grpc import WorkflowServiceStub

PATIENCE = 180.0
"""Seconds that a server has to get ready: with workers elsewhere, on a busy machine."""
LARGE = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class Served:
    """The addresses of a ready server."""

    def __init__(self, rest: str, target: str, channel: grpc.Channel) -> None:
        self.rest_url = rest
        self.target = target
        self.channel = channel
        self.stub = WorkflowServiceStub(channel)

    def rest(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The JSON of a 2xx answer. `body` is sent as JSON, or as it is if it is bytes."""
        connection = http.client.HTTPConnection(urlsplit(self.rest_url).netloc, timeout=30)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        assert response.status < 300, content
        return json.loads(content) if content else None

    def workflow(self, *tasks: Mapping[str, Any], **fields: Any) -> int:
        """The id of a new workflow."""
        made: int = self.rest("POST", "/workflows/", {"name": "w", **fields})["id"]
        for task in tasks:
            self.rest("POST", f"/workflows/{made}/tasks/", {"name": "t", **task})
        return made

    def execute(self, workflow_id: int, wait: float = 0, **fields: Any) -> pb.ExecuteWorkflowResponse:
        request = pb.ExecuteWorkflowRequest(workflow_id=workflow_id, wait_seconds=wait, **fields)
        answer: pb.ExecuteWorkflowResponse = self.stub.ExecuteWorkflow(request, timeout=30)
        return answer

    @property
    def settings(self) -> dict[str, str]:
        """What tells the command line where it is."""
        return {"REST_API_URL": self.rest_url, "GRPC_API_URL": self.target}

    def cli(self, *words: str, stdin: str = "") -> "Done":
        """What `python cli.py …` does, in this process: a new one takes most of its time to import."""
        return call_cli(*words, stdin=stdin, **self.settings)


class Done(NamedTuple):
    """How a command ended. No trace is ever seen."""

    code: int
    out: str
    err: str


def run_cli(*words: str, **settings: str) -> Done:
    """`python cli.py …`"""
    done = subprocess.run(
        [sys.executable, "cli.py", *words],
        cwd=ROOT,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def call_cli(*words: str, stdin: str = "", **settings: str) -> Done:
    """The same in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["cli.py", *words])
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        for name, value in settings.items():
            patch.setenv(name, value)
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return Done(code, out.getvalue(), err.getvalue())


def process(folder: Path, *options: str, **settings: str) -> tuple[Process, Path]:
    """`cli.py serve` that is not started yet, and the file that it writes when it is ready."""
    ready = folder / "ready.json"
    database = ("--database-url", f"sqlite:///{folder}/served.db", "--ready-file", str(ready))
    ports = () if "--rest-port" in options else ("--rest-port", "0", "--grpc-port", "0")
    return Process("serve", ["cli.py", "serve", *database, *ports, *options], settings, folder / "serve.log"), ready


@contextmanager
def serving(folder: Path, *options: str, **settings: str) -> Iterator[Served]:
    """A ready server; asked to stop afterwards, and it must do so well."""
    server, ready = process(folder, *options, **settings)
    with server:
        with connected(server, ready) as served:
            yield served
        assert server.stop() == 0, server.tail()


@contextmanager
def connected(server: Process, ready: Path) -> Iterator[Served]:
    """Waits until it is ready."""
    server.wait_ready(ready.exists, PATIENCE)
    addresses = json.loads(ready.read_text())
    with grpc.insecure_channel(addresses["grpc"], options=LARGE) as channel:
        yield Served(addresses["rest"], addresses["grpc"], channel)
