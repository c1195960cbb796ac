"""What a plain worker of RQ (`rq worker --serializer json`) calls: one call after the other, in its own process.

Our worker does the same for many calls at once and knows when its neighbours die; this one needs only RQ.
"""

import asyncio

from redis import Redis
from rq import get_current_job
from rq.utils import import_attribute, now, utcformat

from engine.model import Result, TaskCall
from engine.outcomes import portable
from engine.task_ports import OpenHost
from executors import _rq_scripts as scripts
from executors._attempts import Attempts
from executors._rq_link import Word
from executors._rq_names import ANSWER_SECONDS, Answer, Names, call_of, encode_answer, job_key


def run_call(call: str, host: str) -> None:
    """Runs one call and records its answer in its job, where its engine finds it."""
    job = get_current_job()
    assert job is not None, "only workers of RQ call this"
    open_host: OpenHost = import_attribute(host)
    answer = asyncio.run(_run(call_of(job.data), open_host))
    _record(job.connection, job.id, job.origin, answer)


async def _run(call: TaskCall, open_host: OpenHost) -> Answer:
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def report(call: TaskCall, result: Result, elapsed: float) -> None:
        answered.set_result(Answer(portable(call.task, result, elapsed), elapsed))

    async with open_host() as host:
        attempts = Attempts(host, report, threads=1)
        try:
            attempts.submit([call])
            return await answered
        finally:
            await attempts.stop()


def _record(redis: Redis, job_id: str, queue: str, answer: Answer) -> None:
    script = scripts.FINISH
    keys = [job_key(job_id), Names(queue).running("plain")]
    words: list[Word] = [job_id, encode_answer(answer), "finished", utcformat(now()), ANSWER_SECONDS]
    redis.eval(script.text, script.keys, *keys, *words)
