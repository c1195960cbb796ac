"""One PostgreSQL, one Redis and one Ray per test run, shared by all its workers; a fresh database for each test.

`TEST_DATABASE_URL`, `TEST_REDIS_URL` and `TEST_RAY_ADDRESS` name servers to use instead (their Redis
databases are flushed).
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import redis

from deploy.processes import ROOT
from deploy.servers import run_sql, tail
from storage.schema import upgrade

RUN = "MILLRACE_TEST_RUN"
TEMPLATE = "millrace_template"


def begin_run() -> None:
    """In the first process of a run, before its workers: makes the folder that they share."""
    folder = Path(tempfile.mkdtemp(prefix="millrace-tests-"))
    os.mkfifo(folder / "run")
    # held, never written to, until this process ends; not inherited by children
    os.open(folder / "run", os.O_RDWR)
    os.environ[RUN] = str(folder)


def end_run() -> None:
    """Keepers see it when this process is gone."""
    shutil.rmtree(os.environ[RUN], ignore_errors=True)


def postgres_server() -> str:
    """The URL of the run's PostgreSQL (database `postgres`)."""
    return os.environ.get("TEST_DATABASE_URL") or _kept("postgres")


def redis_server() -> str:
    """The URL of a database of the run's Redis that belongs to this worker."""
    url = os.environ.get("TEST_REDIS_URL") or _kept("redis")
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return with_database(url, number)


def ray_head() -> str:
    """The address of the run's Ray; every test that uses it names an installation of its own."""
    return os.environ.get("TEST_RAY_ADDRESS") or _kept("ray")


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@contextmanager
def database(template: str = "template1") -> Iterator[str]:
    """The URL of a fresh database, dropped afterwards whoever is still connected."""
    server = postgres_server()
    name = f"test_{uuid.uuid4().hex[:12]}"
    run_sql(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield with_database(server, name)
    finally:
        run_sql(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def migrated_template() -> str:
    """The name of a database with our tables, made once per run."""
    server = postgres_server()
    with _locked("template") as made:
        if not made.exists():
            run_sql(server, f'DROP DATABASE IF EXISTS "{TEMPLATE}"', f'CREATE DATABASE "{TEMPLATE}"')
            upgrade(with_database(server, TEMPLATE))
            made.touch()
    return TEMPLATE


def flush(url: str) -> None:
    """Empties one Redis database."""
    with redis.Redis.from_url(url) as client:
        client.flushdb()


def _kept(kind: str) -> str:
    with _locked(kind) as address:
        if not address.exists():
            _start_keeper(kind, address)
    return address.read_text()


def _start_keeper(kind: str, address: Path) -> None:
    log = address.with_suffix(".log")
    with log.open("wb") as out:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.keeper", kind, str(address.parent)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=ROOT,
            start_new_session=True,
        )
    threading.Thread(target=keeper.wait, name=f"{kind}-keeper", daemon=True).start()  # it outlives this worker
    while not address.exists():
        if keeper.poll() is not None:
            raise RuntimeError(f"no {kind} for the tests:\n{tail(log)}")
        time.sleep(0.02)


@contextmanager
def _locked(name: str) -> Iterator[Path]:
    """A file of the run, under a lock of all its workers."""
    path = Path(os.environ[RUN]) / name
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
