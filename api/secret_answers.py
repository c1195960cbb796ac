"""The answers about secrets, as they go out: never a value, never its seal."""

from collections.abc import Iterable

import msgspec

from api.answers import Time, encode
from engine.clock import rfc3339
from engine.secrets import Secret


class SecretAnswer(msgspec.Struct, frozen=True):
    """What may be known of a secret."""

    name: str
    key_id: str
    allowed_hosts: tuple[str, ...]
    created_at: Time
    updated_at: Time


class RotationAnswer(msgspec.Struct, frozen=True):
    """How many secrets were sealed again."""

    rotated: int


def secret(found: Secret) -> bytes:
    return encode(_answer(found))


def secrets(found: Iterable[Secret]) -> bytes:
    return encode([_answer(one) for one in found])


def _answer(one: Secret) -> SecretAnswer:
    sealed = one.envelope
    made, changed = rfc3339(one.created_at) or "", rfc3339(one.updated_at) or ""
    return SecretAnswer(sealed.name, sealed.key_id, sealed.hosts, made, changed)
