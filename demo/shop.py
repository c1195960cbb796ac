"""The web services that the samples call, on a free port: stock, payments, parcels, and a file of sales.

They behave as such services do: a payment is refused once before it succeeds, and the same `Idempotency-Key` never
pays twice.
"""

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REGIONS = ("north", "south", "east", "west")
PRODUCTS = ("lamp", "chair", "table", "shelf", "rug")
NOBODY = "nobody"
"""A customer to whom no parcel can be sent."""
SALES = 3_000
"""Rows of the file."""


def sales_csv() -> str:
    """`date,region,product,quantity,price` of a year; the same each time, with a few rows as broken as real ones."""
    chance = random.Random(7)
    rows = ["date,region,product,quantity,price"]
    for number in range(SALES):
        day = f"2026-{1 + number * 12 // SALES:02d}-{1 + number % 28:02d}"
        quantity = "" if number % 500 == 250 else str(chance.randint(1, 9))
        price = f"{chance.randint(500, 50_000) / 100:.2f}"
        rows.append(f"{day},{chance.choice(REGIONS)},{chance.choice(PRODUCTS)},{quantity},{price}")
    return "\n".join(rows) + "\n"


class Shop:
    """What its services have been asked to do, in order: `(what, body)`. Each takes its `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.url = ""
        self.seconds = seconds
        self.asked: list[tuple[str, Any]] = []
        self._lock = threading.Lock()
        self._paid: dict[str, int] = {}
        self._refused: set[str] = set()

    def get(self, path: str) -> tuple[int, Any]:
        time.sleep(self.seconds)
        if path == "/sales.csv":
            return 200, sales_csv()
        if path.startswith("/stock/"):
            return 200, {"sku": path.removeprefix("/stock/"), "available": 10}
        return 404, {"error": f"there is no {path}"}

    def post(self, path: str, key: str, body: Any) -> tuple[int, Any]:
        time.sleep(self.seconds)
        if path == "/parcels" and body.get("to") == NOBODY:
            return 422, {"error": "the address is not known"}
        with self._lock:  # several orders at once
            if path == "/payments" and key not in self._refused:
                self._refused.add(key)
                self.asked.append(("payment refused", body))
                return 503, {"error": "the bank is busy"}
            if path == "/payments" and key in self._paid:
                return 200, {"payment": self._paid[key], "replayed": True}
            self.asked.append((path.strip("/"), body))
            number = len(self.asked)
            self._paid[key] = number
        if path == "/payments":
            return 201, {"payment": number}
        if path == "/risk":
            return 200, {"score": 0.2 if body.get("total", 0) < 10_000 else 0.9}
        return 201, {"number": number}

    def did(self, what: str) -> list[Any]:
        """The bodies of one kind of request."""
        return [body for kind, body in self.asked if kind == what]


@contextmanager
def shop(seconds: float = 0.0) -> Iterator[Shop]:
    """Open until the block ends."""
    mine = Shop(seconds)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(*mine.get(self.path))

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer(*mine.post(self.path, self.headers.get("Idempotency-Key", ""), json.loads(text or b"{}")))

        def _answer(self, status: int, answer: Any) -> None:
            text = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/csv" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    mine.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield mine
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
