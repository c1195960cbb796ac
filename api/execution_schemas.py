"""What callers send about executions: starts, cancels, decisions."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from api.schemas import Strict
from engine import limits

Labels = Annotated[
    dict[
        Annotated[str, Field(max_length=limits.NAME)],
        Annotated[str, Field(max_length=limits.NAME)],
    ],
    Field(max_length=limits.LABELS, description="Words that go with the execution.", examples=[{"team": "data"}]),
]


class StartBody(Strict):
    """What an execution is started with."""

    input: Annotated[Any, Field(description="Any JSON; templates see it as {{input...}}.")] = None
    labels: Labels = {}

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": {"customer": "CUST-789"}}]})


class ParametersBody(Strict):
    """What an execution is started with, in the other spelling."""

    parameters: Annotated[dict[str, Any], Field(description="The input of the execution.")] = {}

    model_config = ConfigDict(json_schema_extra={"examples": [{"parameters": {"order_id": "ORD-12345"}}]})


class DataBody(Strict):
    """What an execution is started with, in yet another spelling."""

    data: Annotated[dict[str, Any], Field(description="The input of the execution.")] = {}

    model_config = ConfigDict(json_schema_extra={"examples": [{"data": {"invoice_id": "inv_12345"}}]})


class CancelBody(Strict):
    """Why an execution is cancelled."""

    reason: Annotated[str, Field(max_length=limits.DESCRIPTION, description="For the history.")] | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the customer called"}]})


class VerdictBody(Strict):
    """Who decides, why, and what the form asks for."""

    by: Annotated[str, Field(min_length=1, max_length=limits.NAME, description="Who decides.")] | None = None
    comment: Annotated[str, Field(max_length=limits.DESCRIPTION, description="Why.")] | None = None
    data: Annotated[Any, Field(description="What the form of the approval asks for.")] = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": "anna", "comment": "within budget"}]})


class DecisionBody(VerdictBody):
    """A decision, and the same."""

    decision: Literal["approved", "rejected"]

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"decision": "approved", "by": "anna", "comment": "within budget"}]}
    )
