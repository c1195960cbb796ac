"""`sql`: one statement, in a database that the operator named."""

from typing import Annotated, ClassVar

import msgspec

from egress.statements import Rows, SqlError, Statement
from engine import limits
from engine.connections import Connection
from engine.errors import TaskError
from engine.model import Completed, Outcome, TaskCall
from engine.task_ports import SECRETS, NodeContext, Shape, Verbatim

Scalar = str | int | float | bool | None


class Server(msgspec.Struct, forbid_unknown_fields=True):
    """`postgresql://user:password@host/name`, or `sqlite:///file.db`.

    `read_only` is a safety catch; what authors of workflows may do is decided by the rights of the account.
    """

    url: Annotated[str, msgspec.Meta(pattern="^(postgresql|postgres|sqlite)://")]
    read_only: bool = False


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """`:name` in the statement is bound to the parameter of this name: data never becomes SQL."""

    statement: Annotated[Verbatim, msgspec.Meta(min_length=1, max_length=limits.TEMPLATE)]
    parameters: Annotated[dict[str, Scalar | list[Scalar]], SECRETS] = {}
    connection: str | None = None
    max_rows: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1000
    timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 30.0


class Sql:
    """Runs one statement in one transaction.

    Output: `{"columns", "rows": [{column: value}], "row_count"}`; of a statement without rows `row_count` is how many
    it has changed. Exact numbers and times are text, bytes are base64. More rows than `max_rows` are a failure.
    """

    type: ClassVar[str] = "sql"
    aliases: ClassVar[tuple[str, ...]] = ("sql_query",)
    spellings: ClassVar[dict[str, str]] = {"query": "statement", "params": "parameters"}
    connections: ClassVar[dict[str, Shape]] = {"sql": Server}
    shape: ClassVar[Shape] = Config
    blocking: ClassVar[bool] = True

    def run(self, call: TaskCall, config: Config, context: NodeContext) -> Outcome:
        connection: Connection = context.connections.get("sql", config.connection)
        server: Server = connection.server
        asked = Statement(config.statement, config.parameters, config.max_rows, config.timeout, server.read_only)
        try:
            found: Rows = context.sql.run(server.url, asked)
        except SqlError as error:
            raise TaskError(str(error), type=error.type, retryable=error.retryable) from None
        count = len(found.rows) if found.columns else found.changed
        return Completed({"columns": found.columns, "rows": found.rows, "row_count": count})


handler = Sql()
