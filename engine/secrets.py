"""Secrets: their records, how they travel sealed, and how their values are kept out of what is said.

A value is open in two moments only: when it is written, and inside the attempt that uses it. Everywhere else it is
an `Envelope`: in the table, in a `TaskCall`, on the way to a worker.
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from engine.model import Envelope, Record

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,199}")
LEAST, MOST = 4, 64 * 1024
"""Characters of a value. Shorter ones could not be masked without harm."""
MASK = "•••"
CUT, HALF = 8, 12
"""Characters of the beginning of a value, at the least, that are masked where it was cut off."""
LINE = 16
"""Characters of a line of a value that is masked by itself."""
_LEFT = ("", "/", "*", "!'()*", "?/:@!$'()*,", "@:!$'()*,+&;=/", ";/?:@&=+$,#!'()*")
"""What writers of URLs leave as it is: strict ones, `quote`, forms, encodeURIComponent, our client's query and path,
encodeURI."""
_ESCAPE = re.compile(r"(%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4})")
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
        self._forms = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_spelled, self._forms))) if forms else None

    def text(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def value(self, value: Any) -> Any:
        """A copy; keys of objects are masked too, and numbers that hold a value."""
        return _walk(value, self.text, self._number)

    def message(self, text: str) -> str:
        """A text for people, in which a value may have been cut off: its beginning is masked too.

        At the end of the text `CUT` characters are enough to be taken for one, elsewhere its first half.
        """
        text = self.text(text)
        for form in self._forms:
            if len(form) > CUT:
                text = _without_end(_without_half(text, form), form)
        return text

    def said(self, value: Any) -> Any:
        """As `value`, of what is said to people."""
        return _walk(value, self.message, self._number)

    def _number(self, value: float) -> Any:
        return value if self._pattern is None or not self._pattern.search(_encode(value).decode()) else MASK


def _spelled(form: str) -> str:
    """A pattern for it, in which escapes may have letters of either case."""
    return "".join(
        f"(?i:{re.escape(part)})" if _ESCAPE.fullmatch(part) else re.escape(part) for part in _ESCAPE.split(form)
    )


def _without_half(text: str, form: str) -> str:
    half = form[: max(HALF, len(form) // 2)]
    while (start := text.find(half)) >= 0:
        end = start + len(half)
        for char in form[len(half) :]:
            if text[end : end + 1] != char:
                break
            end += 1
        text = text[:start] + MASK + text[end:]
    return text


def _without_end(text: str, form: str) -> str:
    start = max(0, len(text) - len(form))
    while (start := text.find(form[:CUT], start)) >= 0:
        if form.startswith(text[start:]):
            return text[:start] + MASK
        start += 1
    return text


def _forms(value: str) -> Iterable[str]:
    raw = value.encode("utf-8", "surrogatepass")
    plain = {
        value,
        repr(value)[1:-1],
        raw.decode("latin-1"),
        *(line for line in value.splitlines() if len(line) >= LINE),
    }
    in_base64 = set()
    for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        in_base64 |= {encoded.decode(), encoded.decode().rstrip("=")}
    for shift in range(3):  # inside a longer text, such as user:password, it comes out in one of three ways
        whole = base64.b64encode(b"\0" * shift + raw).decode()
        in_base64.add(whole[4 * bool(shift) : (shift + len(raw)) // 3 * 4])
    in_url = {quote(text, safe=left, errors="replace") for text in (value, *in_base64) for left in _LEFT}
    in_url |= {text.replace("%20", "+") for text in in_url}
    in_url |= {text.replace("~", "%7E") for text in in_url}
    in_json = {json.dumps(value)[1:-1], msgspec.json.encode(value)[1:-1].decode()}
    in_json |= {text.replace("/", "\\/") for text in in_json}
    return plain | in_base64 | in_url | in_json


def _walk(value: Any, change: Callable[[str], str], number: Callable[[float], Any] | None = None) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {_walk(key, change, number): _walk(child, change, number) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(child, change, number) for child in value]
    if number is not None and isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    return value
