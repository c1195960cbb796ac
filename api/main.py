"""`uvicorn api.main:app`: the REST door by itself; on SQLite the engine runs in it."""

from contextlib import AsyncExitStack

from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import build
from bootstrap.logs import configure_logs
from bootstrap.settings import Settings, load_settings
from bootstrap.wiring import open_service
from engine.errors import MillraceError
from engine.service import WorkflowService


def has_engine(settings: Settings) -> bool:
    """Whether this process executes workflows itself."""
    return settings.engine == "on" or (settings.engine == "auto" and settings.database_url.startswith("sqlite"))


class Application:
    """Opens the service when the server starts and closes it when it stops."""

    def __init__(self) -> None:
        self._inner: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._inner is not None:
            await self._inner(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with AsyncExitStack() as stack:
            try:
                self._inner = build(await self._open(stack))
            except MillraceError as error:
                await send({"type": "lifespan.startup.failed", "message": error.message})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self._inner = None
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self, stack: AsyncExitStack) -> WorkflowService:
        settings = load_settings()
        configure_logs(settings.log_level, settings.log_format)
        return await stack.enter_async_context(open_service(settings, engine=has_engine(settings)))


app = Application()
