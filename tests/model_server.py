"""A server that speaks the chat protocol of OpenAI, with answers that a test gives it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class ModelServer:
    """`replies` are said one by one, then `reply`; an int is a status. `asked` holds the requests."""

    def __init__(self, key: str | None = "sk-local") -> None:
        self.key = key
        self.reply: str | int | dict[str, Any] = "Hello"
        self.replies: list[str | int | dict[str, Any]] = []
        self.finish_reason = "stop"
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.slow = False
        self.reached = asyncio.Event()
        self.left = asyncio.Event()
        """Somebody went away before the answer."""
        self.base_url = ""

    async def answer(self, request: web.Request) -> web.Response:
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            wrong = request.headers.get("Authorization", "")
            return web.json_response({"error": {"message": f"Incorrect API key provided: {wrong}"}}, status=401)
        self.asked.append(await request.json())
        self.headers.append(dict(request.headers))
        self.reached.set()
        if self.slow:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.left.set()
                raise
        reply = self.replies.pop(0) if self.replies else self.reply
        if isinstance(reply, int):
            return web.json_response({"error": {"message": f"status {reply}"}}, status=reply)
        return web.json_response(self.completion(reply) if isinstance(reply, str) else reply)

    def completion(self, text: str) -> dict[str, Any]:
        """One word is one token."""
        prompt = sum(len(str(message["content"]).split()) for message in self.asked[-1]["messages"])
        said = len(text.split())
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": self.asked[-1]["model"] + "-2026",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": self.finish_reason}
            ],
            "usage": {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said},
        }


@asynccontextmanager
async def model_server(key: str | None = "sk-local") -> AsyncIterator[ModelServer]:
    """Serves until the block ends."""
    models = ModelServer(key)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", models.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    models.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield models
    finally:
        await runner.cleanup()
