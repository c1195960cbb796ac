"""The gRPC door as a process: health, reflection, restart, stop, and `python -m server`."""

import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from deploy.health import grpc_is_up
from deploy.processes import ROOT, Process
from deploy.servers import free_port
from proto.workflow.v1 import workflow_pb2 as pb
from tests.acceptance.serving import Served, connected, process, run_cli, serving

SLEEP = {"type": "delay", "parameters": {"duration_seconds": 3600}}
NAME = "workflow.v1.WorkflowService"


def names(channel: grpc.Channel) -> set[str]:
    """What reflection lists."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=10)
    return {service.name for service in answer.list_services_response.service}


def test_health_speaks_for_the_process_and_the_service(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    for name in ("", NAME):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as refused:
        stub.Check(health_pb2.HealthCheckRequest(service="nope"), timeout=10)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_can_be_watched(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    for name, status in (("", "SERVING"), ("nope", "SERVICE_UNKNOWN")):
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert next(watch).status == health_pb2.HealthCheckResponse.ServingStatus.Value(status)
        watch.cancel()


def test_the_contract_is_not_shown_unless_it_is_asked_for(served: Served) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        names(served.channel)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_for_development(tmp_path: Path) -> None:
    with serving(tmp_path, GRPC_REFLECTION="true") as served:
        assert {NAME, "grpc.health.v1.Health"} <= names(served.channel)


def test_a_stop_ends_streams_and_says_that_they_may_go_on(tmp_path: Path) -> None:
    server, ready = process(tmp_path)
    with server, connected(server, ready) as served:
        execution_id = served.execute(served.workflow(SLEEP)).execution_id
        watch = served.stub.WatchExecution(pb.WatchExecutionRequest(execution_id=execution_id))
        assert next(watch).seq == 1
        assert server.stop() == 0
        with pytest.raises(grpc.RpcError) as ended:
            list(watch)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_taken_port_is_one_clear_line(tmp_path: Path, served: Served) -> None:
    taken = {"rest": served.rest_url.rpartition(":")[2], "grpc": served.target.rpartition(":")[2]}
    database = ("--database-url", f"sqlite:///{tmp_path}/other.db")
    for door, port in taken.items():
        other = "grpc" if door == "rest" else "rest"
        done = run_cli("serve", *database, f"--{door}-port", port, f"--{other}-port", "0")
        assert done.code == 1
        assert f"cannot listen on 127.0.0.1:{port}" in done.err.splitlines()[-1]


def test_python_m_server_serves_and_stops(tmp_path: Path) -> None:
    port = free_port()
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/m.db", "GRPC_PORT": str(port)}
    with Process("server", ["-m", "server"], settings, tmp_path / "server.log") as server:
        server.wait_ready(lambda: grpc_is_up(f"127.0.0.1:{port}"))
        assert server.stop() == 0, server.tail()


def test_python_m_server_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    settings = {"DATABASE_URL": "mysql://x/y"}
    with Process("server", ["-m", "server"], settings, tmp_path / "server.log") as server:
        assert server.wait() == 1
        assert server.tail().count("\n") <= 1
        assert "mysql" in server.tail()


def test_the_contract_is_clean() -> None:
    buf = Path(sys.executable).parent / "buf"
    done = subprocess.run([buf, "lint", "proto"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--use-rq",), "set REDIS_URL"),
        (("--executor", "abacus"), "there is no executor 'abacus'; there are: asyncio"),
        (("--use-rq", "--use-ray"), "not allowed with"),
    ],
)
def test_an_executor_that_cannot_start_is_said_in_one_line(words: tuple[str, ...], said: str, sqlite_url: str) -> None:
    command = [sys.executable, "-m", "server", *words]
    environment = {**os.environ, "DATABASE_URL": sqlite_url, "GRPC_PORT": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
