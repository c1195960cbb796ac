"""A real SMTP server in the test's loop."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Mailbox:
    """`letters` came; `refuse` are addresses that get `answer`; `slow` never answers."""

    def __init__(self) -> None:
        self.letters: list[Envelope] = []
        self.refuse: set[str] = set()
        self.answer = "550 no such user"
        self.slow = False
        self.reached = asyncio.Event()
        self.users: list[tuple[bytes, bytes]] = []
        self.port = 0

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.reached.set()
        if self.slow:
            await asyncio.sleep(1)
        self.letters.append(envelope)
        return "250 OK"

    def text(self, index: int = 0) -> str:
        content = self.letters[index].content
        assert isinstance(content, bytes)
        return content.decode().replace("\r\n", "\n")

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.users.append((data.login, data.password))
        return AuthResult(success=data.password == b"secret", handled=False)


@asynccontextmanager
async def mailbox(*, auth: bool = False) -> AsyncIterator[Mailbox]:
    """Serves until the block ends."""
    box = Mailbox()
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        with warnings.catch_warnings(action="ignore"):  # it does not like passwords without TLS, and is right
            return SMTP(box, loop=loop, authenticator=box.authenticate, auth_require_tls=False, auth_required=auth)

    server = await loop.create_server(protocol, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        await server.wait_closed()
