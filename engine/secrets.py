"""Secrets: their records, how they travel sealed, and how their values are kept out of what is said.

A value is open in two moments only: when it is written, and inside the attempt that uses it. Everywhere else it is
an `Envelope`: in the table, in a `TaskCall`, on the way to a worker.
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol
from urllib.parse import quote, quote_plus

import msgspec

from engine.model import Envelope, Record

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,199}")
LEAST, MOST = 4, 64 * 1024
"""Characters of a value. Shorter ones could not be masked without harm."""
MASK = "•••"
_MARK = b"\\u0000secret:"
_encode = msgspec.json.Encoder().encode
_SEALED = re.compile("\0secret:([^\0]*)\0")


class Secret(Record, frozen=True, omit_defaults=False):
    """What is stored, and what may be shown of it: everything but the envelope's bytes."""

    envelope: Envelope
    created_at: float
    updated_at: float


class SecretStore(Protocol):
    """Where secrets are kept; values come and go sealed."""

    async def put_secret(self, namespace: str, envelope: Envelope) -> Secret:
        """Makes it, or gives it a new value."""
        ...

    async def list_secrets(self, namespace: str) -> list[Secret]:
        """All, by name."""
        ...

    async def get_secrets(self, namespace: str, names: Sequence[str]) -> dict[str, Secret]:
        """Those that exist."""
        ...

    async def delete_secret(self, namespace: str, name: str) -> bool:
        """Whether it existed."""
        ...


class Vault(Protocol):
    """Seals and opens; knows the keys."""

    def seal(self, namespace: str, name: str, value: str, hosts: tuple[str, ...]) -> Envelope:
        """With the first key. Raises `SecretsDisabled` if there is none."""
        ...

    def open(self, namespace: str, envelope: Envelope) -> str:
        """Raises `TaskError`, not retryable, if it was sealed with a key that this process lacks, or was changed."""
        ...


def names_in(value: Any) -> set[str]:
    """The secrets that a rendered config refers to. Asked of every call: its JSON is searched in a microsecond."""
    found: set[str] = set()
    if value and _MARK in _encode(value):
        _walk(value, lambda text: _noted(text, found))
    return found


def _noted(text: str, found: set[str]) -> str:
    found.update(_SEALED.findall(text))
    return text


def filled(value: Any, values: dict[str, str]) -> Any:
    """A copy with each reference replaced by its value."""
    return _walk(value, lambda text: _SEALED.sub(lambda match: values[match[1]], text))


def shown(value: Any) -> Any:
    """A copy as a reader may see it: with each reference as it was written."""
    return _walk(value, lambda text: _SEALED.sub(lambda match: "{{secrets." + match[1] + "}}", text))


class Masker:
    """Replaces values wherever they appear: plain, base64, URL-encoded, JSON-escaped."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= LEAST}
        longest_first = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def text(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def value(self, value: Any) -> Any:
        """A copy; keys of objects are masked too."""
        return _walk(value, self.text)


def _forms(value: str) -> Iterable[str]:
    raw = value.encode("utf-8", "surrogatepass")
    yield value
    for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        yield encoded.decode()
        yield encoded.decode().rstrip("=")
    for shift in range(3):  # inside a longer text, such as user:password, it comes out in one of three ways
        whole = base64.b64encode(b"\0" * shift + raw).decode()
        yield whole[4 * bool(shift) : (shift + len(raw)) // 3 * 4]
    yield quote(value, safe="")
    yield quote(value)
    yield quote_plus(value)
    yield json.dumps(value)[1:-1]
    yield msgspec.json.encode(value)[1:-1].decode()


def _walk(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {_walk(key, change): _walk(child, change) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(child, change) for child in value]
    return value
