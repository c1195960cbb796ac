"""What the bare RQ jobs of the benchmarks call."""

from typing import Any


def noop(value: Any) -> Any:
    """A task's work, without anything around it."""
    return value
