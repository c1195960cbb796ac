"""Letters over SMTP, through servers that the operator named."""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from typing import Literal, NamedTuple

from egress.client import EgressError


class MailServer(NamedTuple):
    """`security`: `starttls` (587), `tls` (465), or `none` for a relay on this machine."""

    host: str
    port: int
    security: Literal["none", "starttls", "tls"] = "none"
    username: str | None = None
    password: str = ""


class Letter(NamedTuple):
    """Plain text. `reference` is the same for every attempt to send it, so that a copy can be told."""

    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    reference: str


async def send(server: MailServer, letter: Letter, seconds: float) -> None:
    """Hands the letter over to the server for all its addresses. Raises `EgressError`.

    A cancelled call leaves its thread to end by itself: no step of SMTP waits longer than `seconds`.
    """
    message = _message(letter)
    try:
        async with asyncio.timeout(seconds):
            await asyncio.to_thread(_deliver, server, letter, message, seconds)
    except TimeoutError:
        raise EgressError(f"{server.host} did not take the letter within {seconds:g} s", "timeout") from None
    except smtplib.SMTPRecipientsRefused as error:
        raise _answered(server, "the addresses", min(code for code, _ in error.recipients.values())) from None
    except smtplib.SMTPResponseException as error:
        raise _answered(server, "the letter", error.smtp_code) from None
    except (smtplib.SMTPException, OSError) as error:
        raise EgressError(f"{server.host}: {error}", "connection") from None


def _message(letter: Letter) -> EmailMessage:
    message = EmailMessage()
    try:
        message["From"], message["To"], message["Subject"] = letter.sender, ", ".join(letter.to), letter.subject
    except ValueError as error:
        raise EgressError(f"the letter cannot be sent: {error}", "egress_refused", retryable=False) from None
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{letter.reference}@millrace>"
    message.set_content(letter.text)
    return message


def _deliver(server: MailServer, letter: Letter, message: EmailMessage, seconds: float) -> None:
    open_it = smtplib.SMTP_SSL if server.security == "tls" else smtplib.SMTP
    with open_it(server.host, server.port, timeout=seconds) as smtp:
        if server.security == "starttls":
            smtp.starttls(context=ssl.create_default_context())
        if server.username is not None:
            smtp.login(server.username, server.password)
        refused = smtp.send_message(message, letter.sender, letter.to)
    if refused:
        raise smtplib.SMTPRecipientsRefused(refused)


def _answered(server: MailServer, what: str, code: int) -> EgressError:
    """5xx is final, 4xx may pass."""
    message = f"{server.host} does not take {what}: it answered {code}"
    return EgressError(message, "smtp_refused", retryable=400 <= code < 500)
