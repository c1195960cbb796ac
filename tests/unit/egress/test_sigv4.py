"""Signatures, against the examples that Amazon has published for S3."""

import pytest

from egress.sigv4 import Credentials, encoded, query_string, sign

WHO = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
NOON = 1_369_353_600.0  # 2013-05-24T00:00:00Z
HOST = "https://examplebucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "signature"),
    [
        (
            "GET",
            "/test.txt",
            {"Range": "bytes=0-9"},
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        ("GET", "/?lifecycle=", {}, b"", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "GET",
            "/?max-keys=2&prefix=J",
            {},
            b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_published_examples(method: str, path: str, headers: dict[str, str], body: bytes, signature: str) -> None:
    signed = sign(method, HOST + path, headers, body, WHO, NOON)
    assert signed["Authorization"].endswith(f"Signature={signature}")
    assert signed["x-amz-date"] == "20130524T000000Z"


def test_a_session_token_is_signed_too() -> None:
    signed = sign("GET", HOST + "/", {}, b"", WHO._replace(session_token="t0k"), NOON)
    assert signed["x-amz-security-token"] == "t0k"
    assert "x-amz-security-token" in signed["Authorization"]


def test_paths_and_queries_are_encoded_strictly() -> None:
    assert encoded("a b/ü+$~", "/") == "a%20b/%C3%BC%2B%24~"
    assert query_string({"b": "1 2", "a": "x/y"}) == "a=x%2Fy&b=1%202"
