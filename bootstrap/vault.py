"""AES-GCM with the keys of the settings. The library is imported with the first value."""

import base64
import binascii
import os
from typing import Any

import msgspec

from engine.errors import ConfigurationError, SecretsDisabled, TaskError
from engine.model import Envelope

KEY_BYTES, NONCE_BYTES = 32, 12


class AesVault:
    """Seals with the first key; opens with any. Name, namespace and hosts are authenticated with the value."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._keys = keys

    def seal(self, namespace: str, name: str, value: str, hosts: tuple[str, ...]) -> Envelope:
        if not self._keys:
            raise SecretsDisabled()
        key_id, key = next(iter(self._keys.items()))
        nonce = os.urandom(NONCE_BYTES)
        bound = _bound(namespace, name, key_id, hosts)
        return Envelope(name, key_id, nonce, _cipher(key).encrypt(nonce, value.encode(), bound), hosts)

    def open(self, namespace: str, envelope: Envelope) -> str:
        key = self._keys.get(envelope.key_id)
        if key is None:
            message = (
                f"the secret {envelope.name!r} is sealed with the key {envelope.key_id!r}, which SECRET_KEYS lacks"
            )
            raise TaskError(message, type="secret_sealed", retryable=False)
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 — with the first value only

        bound = _bound(namespace, envelope.name, envelope.key_id, envelope.hosts)
        try:
            opened: bytes = _cipher(key).decrypt(envelope.nonce, envelope.ciphertext, bound)
        except (InvalidTag, ValueError):
            message = f"the secret {envelope.name!r} was changed, or sealed with another key of the same name"
            raise TaskError(message, type="secret_sealed", retryable=False) from None
        return opened.decode()


def open_vault(setting: str) -> AesVault:
    """`id:base64,id:base64`. Raises `ConfigurationError`, which names no key."""
    keys: dict[str, bytes] = {}
    for number, part in enumerate(filter(None, map(str.strip, setting.split(","))), 1):
        key_id, _, text = part.partition(":")
        try:
            key = base64.b64decode(text, validate=True)
        except binascii.Error:
            key = b""
        if not key_id or len(key) != KEY_BYTES or key_id in keys:
            raise ConfigurationError(f"SECRET_KEYS: part {number} is not id:base64 of {KEY_BYTES} bytes with an own id")
        keys[key_id] = key
    return AesVault(keys)


def new_key(key_id: str) -> str:
    """A part of SECRET_KEYS."""
    return f"{key_id}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}"


def _bound(namespace: str, name: str, key_id: str, hosts: tuple[str, ...]) -> bytes:
    return msgspec.json.encode(["millrace-secret-1", namespace, name, key_id, hosts])


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 — with the first value only

    return AESGCM(key)
