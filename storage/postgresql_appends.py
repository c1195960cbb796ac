"""Appends on PostgreSQL, with an answer even when the connection breaks between the commit and its reply."""

import asyncio
from collections.abc import Sequence

import psycopg2
import structlog

from engine.errors import BatchRefused, LeaseLost, MillraceError, StoreUnavailable
from engine.ports import Append, Committed, Duplicate
from storage.functions import LEASE_LOST, NOT_OURS
from storage.postgresql_batch import Batch
from storage.postgresql_session import Broken, Part, Rows, Session

PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds before each try after the connection broke."""
TRANSIENT = frozenset({"40001", "40P01", "55P03", "57014"})
"""Serialisation, deadlock, lock and statement time-outs: nothing was written, the same again may succeed."""
TRANSIENT_TRIES = 5
FAULTS = frozenset({"0A", "21", "22", "23", "42", "54"})
"""Classes of errors that the same statement would meet again: wrong data, broken constraints, limits."""

log = structlog.get_logger(__name__)


def translate(error: psycopg2.Error) -> MillraceError:
    """What a refusal by the database means."""
    text, code = str(error).strip(), error.pgcode or ""
    if code == LEASE_LOST:
        return LeaseLost()
    if code == NOT_OURS or code[:2] in FAULTS:
        return BatchRefused(f"the batch cannot be stored: {text}")
    return StoreUnavailable(f"the database does not answer: {text}")


async def append(writer: Session, lease: int | None, number: int | None, appends: Sequence[Append]) -> Committed:
    """Raises `LeaseLost`, `BatchRefused`, `StoreUnavailable`; the first two never when the batch is in the journal."""
    batch = Batch(lease, number, appends)
    try:
        return await _once(writer, batch)
    except Broken as error:
        log.warning("connection broke in a commit; looking whether it took place", lease=lease, batch=number)
        return await _recover(writer, batch, error)
    except ValueError as error:  # the driver cannot quote it
        raise BatchRefused(f"the batch cannot be stored: {error}") from error


async def _once(writer: Session, batch: Batch) -> Committed:
    """A fenced batch that is refused may be there since an earlier call, which ended as `StoreUnavailable`."""
    try:
        return _committed(await _send(writer, batch.statements()))
    except (BatchRefused, LeaseLost):
        found = await _find(writer, batch) if batch.fenced else None
        if found is None:
            raise
        return found


async def _send(writer: Session, parts: Sequence[Part]) -> Rows:
    tries = TRANSIENT_TRIES
    while True:
        try:
            return await writer.run(*parts)
        except psycopg2.Error as error:
            tries -= 1
            if error.pgcode not in TRANSIENT or not tries:
                raise translate(error) from error


async def _recover(writer: Session, batch: Batch, error: Broken) -> Committed:
    reason: Exception = error
    for pause in PAUSES:
        await asyncio.sleep(pause)
        try:
            found = await _find(writer, batch)
            return found if found is not None else await _again(writer, batch)
        except (Broken, StoreUnavailable) as again:
            reason = again
    raise StoreUnavailable(f"the database does not answer: {reason}") from reason


async def _again(writer: Session, batch: Batch) -> Committed:
    try:
        return _committed(await _send(writer, batch.statements()))
    except BatchRefused:
        # the first query may have waited in the server's socket and run after we had looked
        found = await _find(writer, batch)
        if found is None:
            raise
        return found


async def _find(writer: Session, batch: Batch) -> Committed | None:
    """The answer that was lost, if the batch is in the journal."""
    rows = await _send(writer, batch.find())
    if not rows:
        return None
    at: float = rows[0][0]
    return _committed([(at, *row[1:]) for row in await _send(writer, [batch.duplicates()])])


def _committed(rows: Rows) -> Committed:
    duplicates = {row[1]: Duplicate(row[2], bytes(row[3])) for row in rows if row[1] is not None}
    return Committed(rows[0][0], duplicates)
