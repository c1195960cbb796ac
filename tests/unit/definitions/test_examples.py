"""Every workflow that the five documents show, as it stands there but for spaces at the ends of lines.

Each names its document and section.
"""

import json
from typing import Any

import pytest

from engine.graph import canonical
from engine.yaml_documents import decode_yaml, encode_yaml
from tests.unit.definitions.words import digest, edges, graph, inspect, read, warnings

# 000, "Concepts", Workflow Definition
INVOICE = """
{
    "description": "A simple invoice approval flow.",
    "start_at": "fetch_invoice",
    "steps": {
        "fetch_invoice": { "next": "validate_invoice" },
        "validate_invoice": { "next": "generate_report" },
        "generate_report": {
            "type": "delay",
            "duration_seconds": 15,
            "next": "archive_report"
        },
        "archive_report": {
        "next": "end",
        "retry": {
            "max_attempts": 3,
            "delay_seconds": 5
            }
        }
    }
}
"""

# 001, "Workflow structure"
HOT_LEAD = """
{
  "nodes": [
    {"id": "start", "type": "start", "data": {}},
    {"id": "notify", "type": "send_notification", "data": {"toRole": "AE", "message": "New hot lead"}},
    {"id": "wait", "type": "delay", "data": {"ms": 1000}},
    {"id": "call", "type": "http_call", "data": {"method": "POST", "url": "https://httpbin.org/post"}},
    {"id": "branch", "type": "branch", "data": {"cases": [{"label":"CEO","condition":{"==":[{"var":"lead.title"}, "CEO"]},"next":"gift"},{"else": true, "next":"drip"}]}}
  ],
  "edges": [
    {"id":"e1","source":"start","target":"notify"},
    {"id":"e2","source":"notify","target":"wait"},
    {"id":"e3","source":"wait","target":"call"},
    {"id":"e4","source":"call","target":"branch"}
  ]
}
"""  # noqa: E501

# 003, "Creating a Custom Workflow"
CUSTOM = """
# workflows/my_workflow.yaml
name: my-workflow
version: 1.0
description: "My custom workflow"

tasks:
  - id: task1
    name: "Test Task"
    type: activity
    activity_type: http_request
    config:
      url: https://httpbin.org/get
      method: GET
"""

# 004, "Node Types"
LLM: dict[str, Any] = {
    "id": "llm_node",
    "type": "llm",
    "config": {"model": "gpt-4", "prompt": "{{input.prompt}}", "temperature": 0.7, "max_tokens": 1000},
}
HTTP: dict[str, Any] = {
    "id": "http_node",
    "type": "http",
    "config": {
        "method": "POST",
        "url": "https://api.example.com/endpoint",
        "headers": {"Authorization": "Bearer {{secrets.api_key}}"},
        "body": {"data": "{{input.data}}"},
    },
}
CODE: dict[str, Any] = {
    "id": "code_node",
    "type": "code",
    "config": {
        "language": "python",
        "code": """
def process(input_data):
    result = input_data * 2
    return {"output": result}
        """,
        "input_mapping": {"input_data": "{{input.value}}"},
    },
}
CONDITIONAL: dict[str, Any] = {
    "id": "conditional_node",
    "type": "conditional",
    "config": {"condition": "{{input.value}} > 10", "true_edge": "success_path", "false_edge": "failure_path"},
}

# 004, "Workflow Definition"
SUPPORT = """
{
    "name": "Customer Support Workflow",
    "description": "Automated customer support workflow",
    "nodes": [
        {
            "id": "start",
            "type": "start",
            "config": {}
        },
        {
            "id": "classify",
            "type": "llm",
            "config": {
                "model": "gpt-4",
                "prompt": "Classify this customer inquiry: {{input.message}}"
            }
        },
        {
            "id": "route",
            "type": "conditional",
            "config": {
                "condition": "{{classify.output.category}} == 'technical'",
                "true_edge": "technical_support",
                "false_edge": "general_support"
            }
        }
    ],
    "edges": [
        {"source": "start", "target": "classify"},
        {"source": "classify", "target": "route"}
    ]
}
"""


def form_faults(document: Any) -> list[Any]:
    """Faults of everything but templates, whose language is not this room's."""
    return [fault for fault in inspect(document).faults if not fault.code.startswith("template")]


def test_000_invoice_approval() -> None:
    document = json.loads(INVOICE)
    assert edges(document) == {
        "fetch_invoice>validate_invoice",
        "validate_invoice>generate_report",
        "generate_report>archive_report",
    }
    by_key = {task.key: task for task in graph(document).tasks}
    assert by_key["generate_report"].config == {"duration_seconds": 15}
    assert (by_key["archive_report"].retry.max_attempts, by_key["archive_report"].retry.initial_interval) == (3, 5.0)
    assert by_key["fetch_invoice"].config == {"action": "fetch_invoice"}
    report = inspect(INVOICE)
    assert (report.dialect, report.faults) == ("steps", ())
    assert [fault.code for fault in report.warnings] == ["unknown_action"] * 3


def test_001_hot_lead() -> None:
    document = json.loads(HOT_LEAD)
    assert edges(document) == {
        "start>notify",
        "notify>wait",
        "wait>call",
        "call>branch",
        "branch-CEO>gift",
        "branch-else>drip",
    }
    report = inspect(HOT_LEAD)
    assert (report.dialect, report.faults) == ("graph", ())
    assert warnings(document) == [
        ("unknown_target", "/nodes/4/data/cases/0/next"),
        ("unknown_target", "/nodes/4/data/cases/1/next"),
    ]


def test_001_hot_lead_with_the_targets_that_it_lacks() -> None:
    document = json.loads(HOT_LEAD)
    document["nodes"] += [{"id": "gift", "type": "noop"}, {"id": "drip", "type": "noop"}]
    assert warnings(document) == []
    assert digest(document) != digest(HOT_LEAD)


def test_003_custom_workflow() -> None:
    report = inspect(CUSTOM)
    assert (report.dialect, report.faults, report.warnings) == ("yaml_tasks", (), ())
    assert (report.head.name, report.head.description) == ("my-workflow", "My custom workflow")
    document = {
        "tasks": [
            {"id": "task1", "type": "http_request", "config": {"method": "GET", "url": "https://httpbin.org/get"}}
        ]
    }
    assert report.digest == digest(document)


@pytest.mark.parametrize("node", [LLM, HTTP, CODE, CONDITIONAL], ids=lambda node: node["id"])
def test_004_nodes(node: dict[str, Any]) -> None:
    assert form_faults({"nodes": [node], "edges": []}) == []


def test_004_customer_support() -> None:
    assert form_faults(SUPPORT) == []
    assert inspect(SUPPORT).head.name == "Customer Support Workflow"
    document = json.loads(SUPPORT)
    assert {edge for edge in edges(document) if edge.startswith("route")} == {
        "route-true>technical_support",
        "route-false>general_support",
    }
    assert [code for code, _ in warnings(document)] == ["unknown_target"] * 2


@pytest.mark.parametrize("text", [INVOICE, HOT_LEAD, SUPPORT], ids=["000", "001", "004"])
def test_an_example_means_the_same_in_yaml(text: str) -> None:
    document = json.loads(text)
    name = inspect(text).dialect
    assert name is not None
    again = decode_yaml(encode_yaml(document))
    assert canonical(read(name, again)[1].graph) == canonical(read(name, document)[1].graph)
