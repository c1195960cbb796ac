"""`cli.py worker`, and where `cli.py serve` says that tasks run."""

import json
from pathlib import Path

import pytest

from deploy.processes import Process
from tests.acceptance.serving import call_cli, run_cli


def test_a_worker_says_that_it_is_ready_and_stops_when_asked(redis_url: str, tmp_path: Path) -> None:
    ready, log = tmp_path / "ready.json", tmp_path / "log"
    command = ["cli.py", "worker", "--concurrency", "3", "--redis-url", redis_url, "--ready-file", str(ready)]
    with Process("worker", command, {}, log) as worker:
        worker.wait_ready(ready.exists)
        assert json.loads(ready.read_text())["pid"] == worker.pid
        assert "concurrency=3" in log.read_text()
        assert worker.stop() == 0, worker.tail()


@pytest.mark.parametrize(("url", "said"), [("", "set REDIS_URL"), ("redis://:secret@127.0.0.1:1", "127.0.0.1:1 does")])
def test_a_worker_without_a_redis_says_the_cure(url: str, said: str) -> None:
    done = run_cli("worker", REDIS_URL=url)
    assert done.code == 1
    assert said in done.err
    assert "REDIS_URL" in done.err
    assert "secret" not in done.err
    assert len(done.err.splitlines()) == 1


def test_tasks_run_in_one_place(sqlite_url: str) -> None:
    done = call_cli("serve", "--use-rq", "--use-ray", "--database-url", sqlite_url)
    assert done.code == 2
    assert "give one of" in done.err
