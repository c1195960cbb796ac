"""Sealed secrets on one SQLAlchemy connection, inside a transaction that the caller begins and ends."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from engine.model import Envelope
from engine.secrets import Secret
from storage.tables import metadata

secret = metadata.tables["secret"]


class Secrets:
    """The verbs of `engine.secrets.SecretStore`, synchronous. `now` is the SQL for the time of this transaction."""

    def __init__(self, connection: Connection, now: ColumnElement[float]) -> None:
        self._connection = connection
        self._now = now

    def put(self, namespace: str, envelope: Envelope) -> Secret:
        """An update first: two that make the same one at once are told apart by the primary key."""
        values = {
            "key_id": envelope.key_id,
            "nonce": envelope.nonce,
            "ciphertext": envelope.ciphertext,
            "hosts": msgspec.json.encode(envelope.hosts),
            "updated_at": self._now,
        }
        this = (secret.c.namespace == namespace) & (secret.c.name == envelope.name)
        row = self._connection.execute(update(secret).where(this).values(**values).returning(secret)).one_or_none()
        if row is None:
            values |= {"namespace": namespace, "name": envelope.name, "created_at": self._now}
            row = self._connection.execute(insert(secret).values(**values).returning(secret)).one()
        return _record(row)

    def list(self, namespace: str) -> list[Secret]:
        statement = select(secret).where(secret.c.namespace == namespace).order_by(secret.c.name)
        return [_record(row) for row in self._connection.execute(statement)]

    def get(self, namespace: str, names: Sequence[str]) -> dict[str, Secret]:
        these = (secret.c.namespace == namespace) & secret.c.name.in_(names)
        rows = self._connection.execute(select(secret).where(these))
        return {row.name: _record(row) for row in rows}

    def delete(self, namespace: str, name: str) -> bool:
        this = (secret.c.namespace == namespace) & (secret.c.name == name)
        return self._connection.execute(delete(secret).where(this)).rowcount > 0


def _record(row: Row[Any]) -> Secret:
    hosts = msgspec.json.decode(row.hosts, type=tuple[str, ...])
    envelope = Envelope(row.name, row.key_id, bytes(row.nonce), bytes(row.ciphertext), hosts)
    return Secret(envelope, row.created_at, row.updated_at)
