"""Creating a workflow is one statement on an asynchronous connection; every other verb on drafts goes by thread,
and creating one whose document has triggers.
"""

import msgspec

from engine.model import Workflow
from engine.ports import NewWorkflow
from storage.postgresql_session import Part, Rows
from storage.records import workflow_values

_GIVEN = ("namespace", "name", "key", "description", "dialect", "source", "max_concurrency", "timeout", "budget")
_CREATE = f"""INSERT INTO workflow ({", ".join(_GIVEN)}, created_at, updated_at)
VALUES ({", ".join(["%s"] * len(_GIVEN))}, now(), now())
ON CONFLICT (namespace, key) DO NOTHING RETURNING id, revision, extract(epoch FROM created_at)::float8"""


def create(new: NewWorkflow) -> Part:
    """One row, or none when the key is taken."""
    values = workflow_values(msgspec.structs.asdict(new))
    return _CREATE, tuple(values[name] for name in _GIVEN)


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
        budget=new.budget,
    )
