"""Creating a workflow is one statement on an asynchronous connection; every other verb on drafts goes by thread,
and creating one whose document has triggers.
"""

from engine.model import Workflow
from engine.ports import NewWorkflow
from storage.postgresql_session import Part, Rows

_CREATE = """INSERT INTO workflow
  (namespace, name, key, description, dialect, source, max_concurrency, timeout, created_at, updated_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now(), now())
ON CONFLICT (namespace, key) DO NOTHING RETURNING id, revision, extract(epoch FROM created_at)::float8"""


def create(new: NewWorkflow) -> Part:
    """One row, or none when the key is taken."""
    return _CREATE, (
        new.namespace,
        new.name,
        new.key,
        new.description,
        new.dialect,
        new.source,
        new.max_concurrency,
        new.timeout,
    )


def created(new: NewWorkflow, rows: Rows) -> Workflow:
    ((number, revision, at),) = rows
    return Workflow(
        number,
        new.namespace,
        new.key,
        new.name,
        new.description,
        new.dialect,
        new.source,
        revision,
        at,
        at,
        max_concurrency=new.max_concurrency,
        timeout=new.timeout,
    )
