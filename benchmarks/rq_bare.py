"""`python -m benchmarks.rq_bare`: the limit of the RQ executor, RQ's own SimpleWorkers, which run one job at a time."""

import json
import multiprocessing
import sys
import time

from redis import Redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from benchmarks.child import ask
from benchmarks.rq_function import noop

QUEUE = "bare"
LOOK = 0.001
"""Seconds between two looks whether all have ended."""
LONGEST = 120.0
"""Seconds in which they must have."""


def milliseconds(url: str, tasks: int, workers: int) -> float:
    """A task, from the first enqueue to the last result, with so many workers that are ready before."""
    found: float = ask("rq_bare", {"url": url, "tasks": tasks, "workers": workers})["milliseconds"]
    return found


def _work(url: str) -> None:
    queue = Queue(QUEUE, connection=Redis.from_url(url), serializer=JSONSerializer)
    worker = SimpleWorker([queue], connection=queue.connection, serializer=JSONSerializer)
    worker.work(logging_level="ERROR")


def _run(url: str, tasks: int, workers: int) -> float:
    connection = Redis.from_url(url)
    queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
    children = [multiprocessing.Process(target=_work, args=(url,), daemon=True) for _ in range(workers)]
    for child in children:
        child.start()
    while len(SimpleWorker.all(queue=queue)) < workers:
        time.sleep(LOOK)
    began = time.perf_counter()
    jobs = [Queue.prepare_data(noop, args=({},), result_ttl=60, timeout=-1) for _ in range(tasks)]
    queue.enqueue_many(jobs)
    while (ended := queue.finished_job_registry.count) < tasks:
        if time.perf_counter() - began > LONGEST:
            raise RuntimeError(f"{ended} of {tasks} jobs have ended in {LONGEST:g} s; did somebody empty this Redis?")
        time.sleep(LOOK)
    seconds = time.perf_counter() - began
    for child in children:
        child.kill()
        child.join()
    connection.flushdb()
    return seconds / tasks * 1000


if __name__ == "__main__":
    print(json.dumps({"milliseconds": _run(**json.load(sys.stdin))}))
