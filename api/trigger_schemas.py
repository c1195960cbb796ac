"""The bodies of triggers."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from api.schemas import Strict, When, given
from engine import limits
from engine.received import ANY, EVENT_TYPE, TriggerSpec

EventType = Annotated[
    str,
    Field(
        min_length=1,
        max_length=limits.NAME,
        pattern=rf"^(\*|{EVENT_TYPE.pattern})$",
        description="The type of the events; `*`: any.",
        examples=["lead.created"],
    ),
]
_EXAMPLE: Any = {"event": "lead.created", "condition": {">": [{"var": "lead.score"}, 80]}}


class TriggerBody(Strict):
    """Which events start the workflow."""

    event: EventType = ANY
    condition: When = True
    enabled: Annotated[bool, Field(description="false: it rests.")] = True

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    def spec(self) -> TriggerSpec:
        return TriggerSpec(self.event, self.condition, self.enabled)


class TriggerChanges(Strict):
    """The fields to change; the others stay."""

    event: EventType = given()
    condition: When = given()
    enabled: Annotated[bool, Field(description="false: it rests.")] = given()

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": False}]})

    def changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}
