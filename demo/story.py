"""What the demo executes: an order of the sample `workflows/order-processing.yaml`, and slow tasks to be killed."""

from typing import Any


def order(shop: str) -> dict[str, Any]:
    """Large enough to need a manager. `shop` is the address of the services that it calls."""
    items = [{"sku": "PROD-1", "quantity": 2, "price": 750.0}]
    return {"order_id": "ORD-12345", "customer": "ada", "items": items, "shop": shop}


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
