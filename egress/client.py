"""One aiohttp session whose resolver checks every address before it is connected to.

A name is resolved once, all its addresses are checked, and the checked address is what the socket connects to, so
a second answer of a hostile name server is never asked for. Redirects are followed by hand and checked again.
"""

import asyncio
import codecs
import re
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from egress.addresses import refusal

MAX_BODY = 10 * 1024 * 1024
"""Bytes of an answer, decoded."""
MAX_REDIRECTS = 5
_CARRIED = frozenset({"accept", "accept-language", "content-type", "idempotency-key", "user-agent"})
"""Headers that go on to another origin; any other may be a credential."""
_OURS = frozenset({"connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"})
"""Headers that say where a message ends; given by hand they could mix up the calls that share a connection."""
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ENCODED = re.compile(r"[!$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+")
_NO_CHARSET = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"})
"""Python's codecs that are no text of the web, or make text that cannot be stored."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class EgressError(Exception):
    """A call that did not come to an answer. `type` is `egress_refused` (final), `timeout` or `connection`."""

    def __init__(self, message: str, type: str, *, retryable: bool = True) -> None:  # noqa: A002
        super().__init__(message)
        self.type = type
        self.retryable = retryable


class Answer(NamedTuple):
    """`headers` have lower-case names; `content` is the decompressed body, at most `MAX_BODY` bytes."""

    status: int
    headers: dict[str, str]
    content: bytes
    content_type: str
    charset: str

    def text(self) -> str:
        """The body as text; what is not text in its charset is replaced."""
        return _clean(self.content.decode(_charset(self.charset), "replace"))


def _charset(name: str) -> str:
    try:
        found = codecs.lookup(name).name.replace("_", "-")
        "".encode(found)
    except (LookupError, ValueError):
        return "utf-8"
    return "utf-8" if found in _NO_CHARSET else found


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class _Resolver(AbstractResolver):
    """Resolves with the system's resolver and refuses a name if any of its addresses is refused."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys((info[0], str(info[4][0])) for info in infos))
        for _, address in addresses:
            _refuse(address, host, allow_private=self._allow_private)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=found, proto=0, flags=socket.AI_NUMERICHOST)
            for found, address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


class HttpClient:
    """Calls the outside world. Use it as an async context manager."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            resolver=_Resolver(allow_private=self._allow_private), use_dns_cache=False, limit=1000
        )
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=True, trust_env=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        body: bytes | None,
        timeout: float,  # noqa: ASYNC109 — of the whole call, redirects and body included
        signed: bool = False,
        hosts: frozenset[str] | None = None,
    ) -> Answer:
        """One call. Raises `EgressError`. A `signed` URL, which has its query already, is sent as it is written.

        With `hosts` no other may be reached, by redirects neither.
        """
        try:
            _check_headers(headers)
            target = _signed_url(url) if signed else _url(url).update_query(query)
            async with asyncio.timeout(timeout):
                return await self._follow(method, target, dict(headers), body, hosts)
        except TimeoutError:
            raise EgressError(f"{method} {shown(url)} did not answer within {timeout:g} s", "timeout") from None
        except ValueError as error:  # aiohttp.InvalidURL and UnicodeError are among them
            raise _refused(f"{method} {shown(url)} cannot be sent: {_reason(error)}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise EgressError(f"{method} {shown(url)}: {_reason(error)}", "connection") from None

    async def _follow(
        self, method: str, url: URL, headers: dict[str, str], body: bytes | None, hosts: frozenset[str] | None
    ) -> Answer:
        for _ in range(MAX_REDIRECTS + 1):
            self._check(url)
            if hosts is not None and (url.host or "").lower() not in hosts:
                raise _refused(f"a secret of this call may not be sent to {url.host}")
            assert self._session is not None
            async with self._session.request(
                method, url, headers=headers, data=body, allow_redirects=False
            ) as response:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or location is None:
                    return await _read(response)
                target = _url(str(url.join(URL(location))))
                if target.origin() != url.origin():
                    headers = {k: v for k, v in headers.items() if k.lower() in _CARRIED}
                if (response.status == 303 and method != "HEAD") or (
                    response.status in (301, 302) and method == "POST"
                ):
                    method, body = "GET", None
                url = target
        raise _refused(f"more than {MAX_REDIRECTS} redirects")

    def _check(self, url: URL) -> None:
        """A literal address never reaches the resolver; one that only the system can read (`127.1`) is refused."""
        host = (url.host or "").split("%", 1)[0]
        try:
            ip_address(host)
        except ValueError:
            if ":" in host or host.replace(".", "").isdigit():
                raise _refused(f"{host!r} is not an address") from None
            return
        _refuse(url.host or "", url.host or "", allow_private=self._allow_private)


def merged(*given: Mapping[str, str]) -> dict[str, str]:
    """Headers of several sources; of one name in whatever case the last counts."""
    by_name = {name.lower(): (name, value) for headers in given for name, value in headers.items()}
    return dict(by_name.values())


def shown(url: str) -> str:
    """`url` for a message: without user, password, query and fragment, which may be secrets."""
    try:
        return str(URL(url).with_user(None).with_query(None).with_fragment(None))
    except ValueError:
        return "the URL"


def _reason(error: Exception) -> str:
    """What went wrong, without the URL that some errors repeat."""
    if isinstance(error, aiohttp.InvalidURL):
        return "it leads to what is not a URL"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the answer is not HTTP: {_clean(error.message)}"
    return _clean(str(error))


def _check_headers(headers: Mapping[str, str]) -> None:
    for name in headers:
        if not _HEADER.fullmatch(name) or name.lower() in _OURS:
            raise _refused(f"the header {name!r} cannot be set")


def _refuse(address: str, host: str, *, allow_private: bool) -> None:
    reason = refusal(address, allow_private=allow_private)
    if reason is not None:
        raise _refused(f"calls to {host} are not allowed: {reason}")


def _refused(message: str) -> EgressError:
    return EgressError(message, "egress_refused", retryable=False)


def _signed_url(text: str) -> URL:
    """Whoever signs has encoded; anything but printable ASCII would not be what was signed."""
    if not _ENCODED.fullmatch(text):
        raise _refused(f"{shown(text)} is not encoded")
    return _url(text, encoded=True)


def _url(text: str, *, encoded: bool = False) -> URL:
    try:
        url = URL(text, encoded=encoded)
        if url.scheme in ("http", "https") and url.host:
            return url
    except ValueError:
        pass
    raise _refused(f"{shown(text)} is not an http or https URL")


async def _read(response: aiohttp.ClientResponse) -> Answer:
    data = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        data += chunk
        if len(data) > MAX_BODY:
            raise _refused(f"the answer has more than {MAX_BODY} bytes")
    headers = {name.lower(): _clean(value) for name, value in response.headers.items()}
    return Answer(response.status, headers, bytes(data), response.content_type, response.charset or "utf-8")
