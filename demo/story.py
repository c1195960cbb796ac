"""The workflow of the demo: ten tasks, some beside each other, some that really call the running service."""

from typing import Any

INPUT = {"order_id": "ORD-12345", "customer": "Ada", "items": [{"sku": "PROD-1", "quantity": 2, "price": 750.0}]}


def tasks(base_url: str) -> list[dict[str, Any]]:
    """The bodies of `POST /workflows/{id}/tasks/`, in order. `base_url` is that of the REST door."""

    def http(method: str, path: str, **config: Any) -> dict[str, Any]:
        return {"type": "http_request", "parameters": {"method": method, "url": base_url + path, **config}}

    rows: list[dict[str, Any]] = [
        {"key": "order", "type": "set", "parameters": {"id": "{{input.order_id}}", "first": "{{input.items[0]}}"}},
        {"key": "catalog", "execution_type": "async", **http("GET", "/executions", query={"limit": 1})},
        {"key": "health", "execution_type": "async", **http("GET", "/health")},
        {"key": "reserve", "execution_type": "async", "parameters": {"duration": 1.2, "sku": "{{input.items[0].sku}}"}},
        {"key": "invoice", "execution_type": "async", "parameters": {"duration": 0.9}},
        {"key": "charge", "parameters": {"duration": 0.4, "price": "{{tasks.order.output.first.price}}"}},
        {"key": "register", **http("POST", "/workflows/", body={"name": "Delivery of {{tasks.order.output.id}}"})},
        {"key": "confirm", **http("GET", "/workflows/{{tasks.register.output.body.id}}")},
        {"key": "cool-down", "type": "delay", "parameters": {"duration_seconds": 0.5}},
        {
            "key": "report",
            "type": "set",
            "depends_on": ["health", "reserve"],
            "parameters": {
                "text": "{{input.customer}}: {{tasks.confirm.output.body.name}}; health {{tasks.health.output.status}}",
                "reserved": "{{tasks.reserve.output.sku}}",
            },
        },
    ]
    for order, row in enumerate(rows, 1):
        row.update(name=row["key"].replace("-", " ").capitalize(), order=order)
    return rows


def slow_tasks() -> list[dict[str, Any]]:
    """A second workflow, slow enough to be killed in the middle: six in a row, two beside them."""
    rows: list[dict[str, Any]] = [
        {"key": f"step-{n}", "name": f"Step {n}", "order": n, "parameters": {"duration": 0.4, "n": n}}
        for n in range(1, 7)
    ]
    for n in (1, 2):
        row = {"key": f"beside-{n}", "name": f"Beside {n}", "order": n, "execution_type": "async"}
        rows.append({**row, "parameters": {"duration": 1.6}})
    return rows
