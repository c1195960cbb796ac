"""Secrets as use cases: written, listed, deleted, sealed again with a new key; fetched for a call, still sealed."""

from collections.abc import Iterable

from engine.errors import Invalid, SecretNotFound, TaskError
from engine.model import DEFAULT_NAMESPACE, Envelope
from engine.secrets import LEAST, MOST, NAME, Secret, SecretStore, Vault


class Keeper:
    """Of this installation. No method answers a value."""

    def __init__(self, store: SecretStore, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def put(self, name: str, value: str, hosts: Iterable[str] = ()) -> Secret:
        """Raises `Invalid`, `SecretsDisabled`."""
        if not NAME.fullmatch(name):
            raise Invalid("a secret's name has letters, digits, '_' and '-' and begins with a letter", pointer="/name")
        if not LEAST <= len(value) <= MOST:
            raise Invalid(f"a secret has {LEAST} to {MOST} characters", pointer="/value")
        named = tuple(dict.fromkeys(host.lower() for host in hosts))
        if any(not host or "/" in host or ":" in host for host in named):
            raise Invalid("a host is a name such as api.example.com, without scheme and port", pointer="/allowed_hosts")
        return await self._store.put_secret(DEFAULT_NAMESPACE, self._vault.seal(DEFAULT_NAMESPACE, name, value, named))

    async def list(self) -> list[Secret]:
        return await self._store.list_secrets(DEFAULT_NAMESPACE)

    async def get(self, name: str) -> Secret:
        """Raises `SecretNotFound`."""
        found = await self._store.get_secrets(DEFAULT_NAMESPACE, [name]) if NAME.fullmatch(name) else {}
        if name not in found:
            raise SecretNotFound(f"there is no secret {name!r:.100}; list them with GET /secrets")
        return found[name]

    async def delete(self, name: str) -> None:
        """Raises `SecretNotFound`."""
        if not NAME.fullmatch(name) or not await self._store.delete_secret(DEFAULT_NAMESPACE, name):
            raise SecretNotFound(f"there is no secret {name!r:.100}; list them with GET /secrets")

    async def rotate(self) -> int:
        """Seals all again with the first key of the settings; afterwards older keys may go. How many there were."""
        secrets = await self.list()
        for secret in secrets:
            old = secret.envelope
            value = self._vault.open(DEFAULT_NAMESPACE, old)
            await self._store.put_secret(
                DEFAULT_NAMESPACE, self._vault.seal(DEFAULT_NAMESPACE, old.name, value, old.hosts)
            )
        return len(secrets)

    async def missing(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those that do not exist, by name."""
        wanted = sorted(names)
        found = await self._store.get_secrets(DEFAULT_NAMESPACE, wanted) if wanted else {}
        return tuple(name for name in wanted if name not in found)

    async def envelopes(self, names: Iterable[str]) -> dict[str, Envelope]:
        """Raises `TaskError`, not retryable, if one does not exist."""
        wanted = sorted(names)
        found = await self._store.get_secrets(DEFAULT_NAMESPACE, wanted)
        missing = [name for name in wanted if name not in found]
        if missing:
            message = f"there is no secret {missing[0]!r}; make it with PUT /secrets/{missing[0]}"
            raise TaskError(message, type="unknown_secret", retryable=False)
        return {name: secret.envelope for name, secret in found.items()}
