"""Runs in the child of `subprocess_runner`: bounds itself, runs what standard input says. Knows nothing of ours."""

import contextlib
import io
import json
import resource
import sys
import traceback

SOURCE = "<code>"


def main() -> None:
    """Reads what `SubprocessRunner` sends; writes `{"text", "printed"}` or `{"kind", "message", "line"}`."""
    job = json.loads(sys.stdin.buffer.read())
    out = sys.stdout
    cpu = int(job["seconds"]) + 1
    for what, most in (
        (resource.RLIMIT_AS, job["memory"]),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    printed = io.StringIO()
    answer: dict[str, object]
    try:
        with contextlib.redirect_stdout(printed):
            text = _run(job["code"], job["inputs"], job["call"])
        answer = {"text": text, "printed": printed.getvalue()[: job["printed"]]}
    except BaseException as error:  # noqa: BLE001, RUF100 — whatever the code raises is the answer
        frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == SOURCE]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1] if frames else None
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        answer = {"kind": type(error).__name__, "message": message[:10_000], "line": line}
    out.write(json.dumps(answer))


def _run(code: str, inputs: dict[str, object], call: str) -> str:
    scope: dict[str, object] = {"__name__": "code", "_inputs": inputs}
    exec(compile(code, SOURCE, "exec"), scope)  # noqa: S102 — what this process is for
    first, _, last = call.rpartition("\n")
    exec(first, scope)  # noqa: S102
    return str(eval(last, scope))  # noqa: S307


main()
