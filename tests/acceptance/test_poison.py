"""A task that kills its process is given up with that reason, and what ran beside it is not blamed."""

from pathlib import Path

from proto.workflow.v1 import workflow_pb2 as pb
from tests.acceptance.serving import connected, process

NODES = Path(__file__).parents[1] / "nodes"
CRASHES = 2
"""How often it takes the whole engine with it, before it is a suspect."""


def test_a_deadly_task_runs_alone_and_is_given_up(tmp_path: Path) -> None:
    server, ready = process(tmp_path, NODES_DIR=str(NODES), LEASE_SECONDS="0.5")
    with server:
        with connected(server, ready) as served:
            deadly = served.workflow(
                {"key": "first", "parameters": {"duration": 0.3}},
                {"key": "deadly", "type": "suicide", "execution_type": "async", "on_error": "continue"},
                {"key": "beside", "parameters": {"duration": 1.0}, "execution_type": "async"},
            )
            number = served.execute(deadly).execution_id
        for _ in range(CRASHES):
            assert server.wait() == -9, server.tail()
            ready.unlink(missing_ok=True)
            server.start()
        with connected(server, ready) as served:
            view = served.stub.GetWorkflowStatus(
                pb.GetWorkflowStatusRequest(execution_id=number, wait_seconds=50), timeout=60
            )
            assert server.alive
        assert server.stop() == 0, server.tail()
    runs = {task.key: task for task in view.tasks}
    assert view.status == "completed"
    assert (runs["deadly"].status, runs["deadly"].error.type) == ("failed", "process_lost")
    assert "died 7 times, the last 5 while it ran alone" in runs["deadly"].error.message
    assert runs["beside"].status == "completed"
