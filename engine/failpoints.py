"""Named places where a test makes this process die, raise, hang or stop. Nothing is armed unless `FAILPOINT` is set.

`FAILPOINT=name:action:n` acts at the n-th time (from 1) that `name` is reached; `action` is `kill` (SIGKILL to
itself), `raise`, `hang` (the loop blocks for good) or `stop` (SIGSTOP to itself: it goes on when somebody continues
it). `NAMES` lists the places.
Before it acts it writes `failpoint name:action` to standard error: a test can tell that the fault landed.
"""

import os
import signal
import time

NAMES = (
    "commit.before",
    "commit.after",
    "step.before",
    "step.after",
    "dispatch.before",
    "dispatch.after",
    "result.before",
    "claim.before",
    "claim.after",
    "load.after",
    "start.before",
    "start.after",
    "signal.before",
    "signal.after",
    "event.stored",
    "event.settle",
    "event.lookback",
)
ACTIONS = ("kill", "raise", "hang", "stop")


class FailpointError(RuntimeError):
    """What an armed `raise` raises."""


def _parse(text: str) -> dict[str, tuple[str, int]]:
    if not text:
        return {}
    name, action, count = text.split(":")
    if name not in NAMES or action not in ACTIONS:
        raise ValueError(f"FAILPOINT={text!r}: the name is one of {NAMES}, the action one of {ACTIONS}")
    return {name: (action, int(count))}


_armed = _parse(os.environ.get("FAILPOINT", ""))


def hit(name: str) -> None:
    """Does what is armed for `name`, if anything is."""
    if _armed and name in _armed:
        _act(name)


def _act(name: str) -> None:
    action, count = _armed[name]
    if count > 1:
        _armed[name] = (action, count - 1)
        return
    del _armed[name]
    os.write(2, f"failpoint {name}:{action}\n".encode())
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "raise":
        raise FailpointError(name)
    if action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        time.sleep(3600)
