"""What definitions look like, for the contract; what they mean is checked by the engine."""

from typing import Any

from engine import limits

_OBJECT: dict[str, Any] = {"type": "object"}
_HEAD: dict[str, Any] = {
    "name": {"type": ["string", "null"], "description": "What people call it."},
    "key": {"type": ["string", "null"], "description": "A unique word to call it by; also `unique_name`."},
    "description": {"type": ["string", "null"], "description": "What it is for."},
    "max_concurrency": {"type": ["integer", "null"], "minimum": 1, "maximum": limits.CONCURRENCY},
    "timeout": {
        "type": ["number", "string", "null"],
        "description": "Seconds, or a text such as 10m, that an execution may last, waits included.",
    },
    "triggers": {
        "type": ["array", "object", "string", "null"],
        "description": "Events that start it: `event`, `condition`, `enabled`; also one, as `trigger`.",
    },
    "budget": {
        "type": ["object", "null"],
        "properties": {
            "cost": {"type": ["number", "null"], "minimum": 0},
            "tokens": {"type": ["integer", "null"], "minimum": 0},
            "on_exceeded": {"enum": ["fail", "ask"]},
        },
        "description": "What the language models of one execution may take; at least one of the two.",
    },
}
_ID = {"type": ["string", "integer"], "description": "Unique in the workflow."}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": ["array", "null"], "items": item}


DOCUMENTS: dict[str, dict[str, Any]] = {
    "StepsDocument": {
        "type": "object",
        "title": "Steps",
        "description": "Named steps, each naming its `next`; without a `type` a step is an action of that name.",
        "required": ["steps"],
        "properties": {
            **_HEAD,
            "start_at": {"type": ["string", "array", "null"], "items": {"type": "string"}},
            "steps": {"type": ["object", "null"], "additionalProperties": _OBJECT},
        },
        "examples": [
            {
                "name": "Wait",
                "start_at": "wait",
                "steps": {"wait": {"type": "delay", "duration_seconds": 15, "next": "end"}},
            }
        ],
    },
    "GraphDocument": {
        "type": "object",
        "title": "Graph",
        "description": "Nodes and edges; a config stands in `config` or `data`. What an editor adds is kept.",
        "required": ["nodes"],
        "properties": {
            **_HEAD,
            "nodes": _list({**_OBJECT, "required": ["id"], "properties": {"id": _ID}}),
            "edges": _list({**_OBJECT, "required": ["source"], "properties": {"source": _ID}}),
        },
        "examples": [
            {
                "name": "Wait",
                "nodes": [{"id": "wait", "type": "delay", "data": {"ms": 1000}}],
                "edges": [],
            }
        ],
    },
    "TasksDocument": {
        "type": "object",
        "title": "YAML tasks",
        "description": "A list of tasks, each naming those that it `depends_on`.",
        "required": ["tasks"],
        "properties": {
            **_HEAD,
            "tasks": _list({**_OBJECT, "required": ["id"], "properties": {"id": _ID}}),
        },
        "examples": [
            {
                "name": "my-workflow",
                "version": 1.0,
                "tasks": [{"id": "wait", "type": "delay", "config": {"duration_seconds": 1}}],
            }
        ],
    },
}
"""Schemas by name."""
