"""`python -m benchmarks.http_bytes PORT fastapi|asgi FILE`: the limits of a REST door, ready bytes on every path."""

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response
from starlette.types import ASGIApp, Receive, Scope, Send


def fastapi(body: bytes) -> ASGIApp:
    app = FastAPI()

    @app.get("/workflows/{number}")
    async def get(number: int) -> Response:
        return Response(body, media_type="application/json")

    return app


def asgi(body: bytes) -> ASGIApp:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


if __name__ == "__main__":
    port, kind, file = sys.argv[1:]
    made = {"fastapi": fastapi, "asgi": asgi}[kind](Path(file).read_bytes())
    uvicorn.run(made, port=int(port), loop="uvloop", http="httptools", lifespan="off", log_level="warning")
