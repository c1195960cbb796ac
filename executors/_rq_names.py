"""What things are called in Redis, and how a call and its answer travel: JSON, in a genuine job of RQ.

rq:queue:<queue>            ids of jobs that wait (RQ's)
rq:job:<id>                 the job (RQ's), with two fields of ours: whom to tell (`millrace_to`), and the answer
<queue>:rq:inbox:<engine>   ids of jobs whose answers an engine may fetch
<queue>:rq:engine:<engine>  how often the engine has looked; gone with all else when Redis is flushed
<queue>:rq:beats            worker -> `<seconds to live>:<count>`; without expiry, which an eviction would follow
<queue>:rq:running:<worker> ids of the jobs that a worker has taken
"""

import hashlib
import re
from functools import lru_cache
from typing import Any

import msgspec
from redis import Redis
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from engine.model import Result, TaskCall

FUNCTION = "executors._rq_function.run_call"
"""The one function that our jobs call."""
ANSWER_SECONDS = 24 * 3600
"""How long an answer that nobody takes is kept."""

_PLAIN = re.compile(r"[A-Za-z0-9_]{1,80}").fullmatch


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What a worker says of a call."""

    result: Result
    elapsed: float


encode_answer = msgspec.json.Encoder().encode
decode_answer = msgspec.json.Decoder(Answer).decode
_encode = msgspec.json.Encoder().encode
_decode_call = msgspec.json.Decoder(TaskCall).decode
_decode_data = msgspec.json.Decoder(tuple[str, str | None, tuple[str, str], dict[str, Any]]).decode


class Names:
    """The keys of one installation."""

    def __init__(self, installation: str) -> None:
        self.queue = plain(installation)
        self.queue_key = f"rq:queue:{self.queue}"
        self.beats = f"{self.queue}:rq:beats"

    def job_id(self, call: TaskCall) -> str:
        """The same for the same attempt in every engine; letters, digits, `_` and `-`, as RQ wants it."""
        return f"{self.queue}-e{call.execution_id}-t{plain(call.task)}-i{plain(call.iteration)}-a{call.attempt}"

    def inbox(self, engine: str) -> str:
        return f"{self.queue}:rq:inbox:{engine}"

    def engine(self, engine: str) -> str:
        return f"{self.queue}:rq:engine:{engine}"

    def running(self, worker: str) -> str:
        return f"{self.queue}:rq:running:{worker}"


@lru_cache(4096)
def plain(text: str) -> str:
    """`text` itself if it may stand in a job id, else its letters and a digest: different texts stay different."""
    if not text or _PLAIN(text):
        return text
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_]', '_', text)[:40]}-{digest}"


def job_key(job_id: str) -> str:
    return f"rq:job:{job_id}"


class Jobs:
    """Makes jobs of calls: what RQ makes of one, with the call's own data in it (60 µs a job became 8)."""

    def __init__(self, names: Names, host: str) -> None:
        self._host = host
        # only to make the job: it never connects
        job = Job.create(
            FUNCTION,
            args=("", host),
            connection=Redis(),
            serializer=JSONSerializer,
            id="template",
            origin=names.queue,
            description="",
            status=JobStatus.QUEUED,
            timeout=-1,
            result_ttl=60,
            failure_ttl=60,
        )
        fields = {name: value for name, value in job.to_dict().items() if value is not None}
        self._fields = {name: value.value if isinstance(value, JobStatus) else value for name, value in fields.items()}

    def fields(self, call: TaskCall, at: str) -> tuple[bytes, list[str | bytes | int]]:
        """The job's data, and names and values of its hash, in turn; `at` is now, as RQ writes it."""
        data = _encode((FUNCTION, None, (_encode(call).decode(), self._host), {}))
        own: dict[str, Any] = {
            "created_at": at,
            "enqueued_at": at,
            "description": f"{call.type}: task {call.task} of execution {call.execution_id}",
            "data": data,
        }
        return data, [word for pair in {**self._fields, **own}.items() for word in pair]


def call_of(data: bytes) -> TaskCall:
    """The call in a job's data. Raises `ValueError` when it is none of ours."""
    function, _, (call, _), _ = _decode_data(data)
    if function != FUNCTION:
        raise ValueError(f"the job calls {function}, not {FUNCTION}")
    return _decode_call(call)
