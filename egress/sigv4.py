"""Signs requests to S3 and what is compatible with it (AWS Signature Version 4)."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit


class Credentials(NamedTuple):
    """Of one account. `session_token` goes with temporary ones."""

    access_key: str
    secret_key: str
    region: str
    session_token: str | None = None
    service: str = "s3"


def encoded(text: str, safe: str = "") -> str:
    """Percent-encoded as the signature wants it: all but letters, digits and `-_.~`."""
    return quote(text, safe=safe + "-_.~")


def query_string(query: Mapping[str, str]) -> str:
    """In the order and the form in which it is signed."""
    return "&".join(f"{encoded(name)}={encoded(value)}" for name, value in sorted(query.items()))


def sign(
    method: str, url: str, headers: Mapping[str, str], body: bytes, who: Credentials, now: float
) -> dict[str, str]:
    """`headers` and those that prove who asks. `url` has its path and query as `encoded` and `query_string` make them.

    `now` is epoch seconds; a server refuses what is more than some minutes off.
    """
    parts = urlsplit(url)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    digest = hashlib.sha256(body).hexdigest()
    added = {"x-amz-date": moment, "x-amz-content-sha256": digest}
    if who.session_token is not None:
        added["x-amz-security-token"] = who.session_token
    signed = {
        "host": parts.netloc,
        **{name.lower(): " ".join(value.split()) for name, value in headers.items()},
        **added,
    }
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    request = "\n".join((method, parts.path or "/", parts.query, lines, names, digest))
    scope = f"{moment[:8]}/{who.region}/{who.service}/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()))
    signature = hmac.new(_key(who, moment[:8]), text.encode(), hashlib.sha256).hexdigest()
    proof = f"AWS4-HMAC-SHA256 Credential={who.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, **added, "Authorization": proof}


def _key(who: Credentials, day: str) -> bytes:
    key = f"AWS4{who.secret_key}".encode()
    for part in (day, who.region, who.service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
