"""`python -m server --workers N`: engines behind one port, each of which may die."""

import os
import signal
import time
from pathlib import Path

import grpc

from deploy.health import grpc_is_up
from deploy.processes import Process
from deploy.servers import free_port
from proto.workflow.v1 import workflow_pb2 as pb
from proto.workflow.v1.workflow_pb2_grpc import WorkflowServiceStub
from tests.acceptance.serving import run_cli
from tests.stores import sql

SHARE = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
"""A connection of its own for each channel, so that the kernel has something to spread."""


def test_engines_behind_one_port_take_over_from_each_other(tmp_path: Path, migrated_postgres_url: str) -> None:
    port = free_port()
    settings = {"DATABASE_URL": migrated_postgres_url, "GRPC_PORT": str(port), "LEASE_SECONDS": "0.5"}
    workflow = _define(migrated_postgres_url, tmp_path)
    with Process("fleet", ["-m", "server", "--workers", "2"], settings, tmp_path / "fleet.log") as fleet:
        fleet.wait_ready(lambda: grpc_is_up(f"127.0.0.1:{port}") and len(_leases(migrated_postgres_url)) == 2, 60)
        started = [_start(port, workflow, key) for key in range(10)]
        before = _leases(migrated_postgres_url)
        os.kill(int(before[0].partition(":")[2]), signal.SIGKILL)
        ended = [_status(port, number) for number in started]
        assert ended == ["completed"] * 10
        deadline = time.monotonic() + 60
        while len(_leases(migrated_postgres_url)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(set(_leases(migrated_postgres_url)) - set(before)) == 1, "the dead one was not started again"
        assert fleet.stop(30) == 0, fleet.tail()


def test_engines_do_not_outlive_who_started_them(tmp_path: Path, migrated_postgres_url: str) -> None:
    """Nobody would start them again, and they would share the port of the next ones."""
    port = free_port()
    settings = {"DATABASE_URL": migrated_postgres_url, "GRPC_PORT": str(port)}
    with Process("fleet", ["-m", "server", "--workers", "2"], settings, tmp_path / "fleet.log") as fleet:
        fleet.wait_ready(lambda: grpc_is_up(f"127.0.0.1:{port}") and len(_leases(migrated_postgres_url)) == 2, 60)
        engines = [int(lease.partition(":")[2]) for lease in _leases(migrated_postgres_url)]
        fleet.kill()
        deadline = time.monotonic() + 60
        while (left := _leases(migrated_postgres_url)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in engines if left else ():
            os.kill(pid, signal.SIGKILL)
        assert left == [], "they went on"


def test_several_engines_on_one_file_are_refused_with_the_cure(tmp_path: Path) -> None:
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/f.db"}
    with Process("fleet", ["-m", "server", "--workers", "2"], settings, tmp_path / "fleet.log") as fleet:
        assert fleet.wait() == 1
        assert "need a PostgreSQL" in fleet.tail()


def test_engines_that_cannot_start_are_not_started_for_ever(tmp_path: Path, postgres_url: str) -> None:
    """Not even on a machine where a start takes long."""
    settings = {"DATABASE_URL": postgres_url, "GRPC_PORT": str(free_port())}
    with Process("fleet", ["-m", "server", "--workers", "2"], settings, tmp_path / "fleet.log") as fleet:
        assert fleet.wait() == 1
        assert "run: python cli.py db upgrade" in fleet.tail()
        assert "started again" not in fleet.tail()


def _define(url: str, folder: Path) -> int:
    """A workflow of one task that takes a while, written by a REST door of its own."""
    port = free_port()
    settings = {"DATABASE_URL": url}
    arguments = ["-m", "uvicorn", "api.main:app", "--port", str(port)]
    with Process("api", arguments, settings, folder / "api.log") as api:
        door = {"REST_API_URL": f"http://127.0.0.1:{port}"}
        api.wait_ready(lambda: run_cli("list", **door).code == 0, 60)
        assert run_cli("create", "Slow", **door).code == 0
        assert run_cli("add-task", "1", "Work", "--parameters", '{"duration": 1}', **door).code == 0
    return 1


def _leases(url: str) -> list[str]:
    return [row[0] for row in sql(url, "SELECT holder FROM lease WHERE NOT lost ORDER BY id")]


def _start(port: int, workflow: int, key: int) -> int:
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=SHARE) as channel:
        request = pb.ExecuteWorkflowRequest(workflow_id=workflow, idempotency_key=str(key))
        answer: pb.ExecuteWorkflowResponse = WorkflowServiceStub(channel).ExecuteWorkflow(
            request, timeout=30, wait_for_ready=True
        )
        return int(answer.execution_id)


def _status(port: int, number: int) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=SHARE) as channel:
        request = pb.GetWorkflowStatusRequest(execution_id=number, wait_seconds=40)
        answer: pb.WorkflowStatusResponse = WorkflowServiceStub(channel).GetWorkflowStatus(
            request, timeout=60, wait_for_ready=True
        )
        return str(answer.status)
