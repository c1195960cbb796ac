"""The story of the spine with its tasks on a worker of RQ: the same tests, told with another server."""

from collections.abc import Iterator

import pytest

from deploy.processes import Process
from tests import servers
from tests.acceptance.serving import Served, serving
from tests.acceptance.test_grpc_executions import *  # noqa: F403
from tests.acceptance.test_rest_executions import *  # noqa: F403


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("rq")
    settings = {"REDIS_URL": servers.redis_server(), "INSTALLATION": "story", "LOG_LEVEL": "warning"}
    ready = folder / "worker.json"
    command = ["cli.py", "worker", "--ready-file", str(ready)]
    with (
        Process("worker", command, settings, folder / "worker.log") as worker,
        serving(folder, "--use-rq", **settings) as served,
    ):
        worker.wait_ready(ready.exists)
        yield served
        assert worker.stop() == 0, worker.tail()
