"""`object_store` against a real S3 server that checks signatures."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from engine.model import Completed, Failed
from engine.task_ports import NodeContext
from nodes.object_store import Server, _base
from tests.s3_server import S3Server, s3_server
from tests.unit.egress.web import Site, raw
from tests.unit.nodes.harness import completed, connected, failure, faults, runner, timed_out

KIND = "object_store"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def world(context: NodeContext, s3: S3Server) -> NodeContext:
    return connected(context, files=s3.settings())


KEYS = [
    "a.txt",
    "deep/er/file.json",
    "with space & plus+.txt",
    "ünïcødé/文件.txt",
    "100%/x",
    "a=b?c#d;e,f:g@h!$'()*",
    "tilde~under_score-dash",
    "double//slash",
    "trailing/",
    "%2F%41",
    ".hidden/..dots../...",
]


@pytest.mark.parametrize("key", KEYS)
async def test_an_object_comes_back(world: NodeContext, key: str) -> None:
    put = await completed(KIND, {"action": "put", "key": key, "body": {"x": [1, "é"]}}, world)
    assert (put["bucket"], put["key"], put["bytes"]) == ("invoices", key, 14)
    got = await completed(KIND, {"action": "get", "key": key}, world)
    assert got["body"] == {"x": [1, "é"]}
    assert (got["etag"], got["content_type"]) == (put["etag"], "application/json")
    listed = await completed(KIND, {"action": "list", "prefix": key}, world)
    assert key in [found["key"] for found in listed["objects"]]
    await completed(KIND, {"action": "delete", "key": key}, world)
    error = await failure(KIND, {"action": "get", "key": key}, world)
    assert (error.type, error.retryable) == ("not_found", False)
    assert "NoSuchKey" in error.message


@pytest.mark.parametrize(
    ("put", "get", "body"),
    [
        ({"body": "plain ü"}, {}, "plain ü"),
        ({"body": "5"}, {"format": "json"}, 5),
        ({"body": [1]}, {"format": "text"}, "[1]"),
        ({"body": None}, {}, None),
        ({"body": ""}, {}, ""),
        ({"body_base64": base64.b64encode(b"\xff\0").decode()}, {}, base64.b64encode(b"\xff\0").decode()),
        ({"body": "x", "content_type": "text/csv"}, {"format": "base64"}, "eA=="),
        ({"body": "a\0b"}, {}, "a\ufffdb"),
    ],
)
async def test_bodies_and_formats(world: NodeContext, put: dict[str, Any], get: dict[str, Any], body: Any) -> None:
    await completed(KIND, {"action": "put", "key": "body", **put}, world)
    assert (await completed(KIND, {"action": "get", "key": "body", **get}, world))["body"] == body


async def test_a_list_has_as_many_as_are_asked_for(world: NodeContext) -> None:
    for n in range(5):
        await completed(KIND, {"action": "put", "key": f"many/{n}", "body": n}, world)
    listed = await completed(KIND, {"action": "list", "prefix": "many/", "max_keys": 2}, world)
    assert [found["key"] for found in listed["objects"]] == ["many/0", "many/1"]
    assert listed["truncated"]
    assert set(listed["objects"][0]) == {"key", "bytes", "etag", "modified"}
    listed = await completed(KIND, {"action": "list", "prefix": "many/"}, world)
    assert (len(listed["objects"]), listed["truncated"]) == (5, False)


async def test_pages_are_read_to_their_end(world: NodeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.object_store.PAGE", 2)
    for n in range(5):
        await completed(KIND, {"action": "put", "key": f"pages/{n}", "body": n}, world)
    listed = await completed(KIND, {"action": "list", "prefix": "pages/", "max_keys": 10}, world)
    assert (len(listed["objects"]), listed["truncated"]) == (5, False)


async def test_a_wrong_key_is_refused(context: NodeContext, s3: S3Server) -> None:
    world = connected(context, files=s3.settings(secret_key="mistaken"))
    error = await failure(KIND, {"action": "put", "key": "k", "body": 1}, world)
    assert (error.type, error.retryable) == ("object_store", False)
    assert "SignatureDoesNotMatch" in error.message
    assert "mistaken" not in error.message


async def test_buckets_come_from_the_settings(context: NodeContext, s3: S3Server) -> None:
    world = connected(context, files=s3.settings(buckets=["other"]))
    error = await failure(KIND, {"action": "list", "bucket": "third"}, world)
    assert (error.type, error.retryable) == ("bucket_not_allowed", False)
    await completed(KIND, {"action": "list"}, world)
    assert (await failure(KIND, {"action": "list", "bucket": "other"}, world)).type == "not_found"
    nameless = connected(context, files=s3.settings(bucket=None))
    assert (await failure(KIND, {"action": "list"}, nameless)).type == "invalid_config"
    assert (await failure(KIND, {"action": "list"}, context)).type == "unknown_connection"


async def test_the_bucket_may_stand_in_the_name_of_the_host(context: NodeContext, here: Site) -> None:
    settings = S3Server(here.url("", host="localhost"), "a", "s").settings(path_style=False)
    await failure(KIND, {"action": "list", "timeout": 2}, connected(context, files=settings))
    assert _base(Server("a", "s", "https://h:1/p/", path_style=False), "invoices") == "https://invoices.h:1/p/"


async def test_a_slow_server_times_out_and_can_be_left(context: NodeContext, here: Site) -> None:
    world = connected(context, files=S3Server(here.url("/slow"), "a", "s").settings())
    await timed_out(world, KIND, {"action": "list"})
    error = await failure(KIND, {"action": "list", "timeout": 0.1}, world)
    assert (error.type, error.retryable) == ("timeout", True)
    here.reached.clear()
    async with runner(world) as attempts:
        await attempts.cancelled(KIND, {"action": "list"}, here.reached)


async def test_it_can_be_tried_again(context: NodeContext, here: Site) -> None:
    here.statuses = [503]
    world = connected(context, files=S3Server(here.url(""), "a", "s").settings())
    async with runner(world) as attempts:
        first = await attempts.result(KIND, {"action": "delete", "key": "k"})
        second = await attempts.result(KIND, {"action": "delete", "key": "k"}, attempt=2)
    assert isinstance(first, Failed)
    assert first.retryable
    assert isinstance(second, Completed)


@pytest.mark.parametrize(
    "body",
    [b"", b"no xml", b"<a>", b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', b'{"json": 1}'],
)
async def test_an_answer_that_is_no_list_is_a_failure(context: NodeContext, body: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with raw(answer) as url:
        world = connected(context, files=S3Server(url, "a", "s").settings())
        assert (await failure(KIND, {"action": "list"}, world)).type == "bad_answer"


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({}, ["/config/action"]),
        ({"action": "copy", "key": "k"}, ["/config/action"]),
        ({"action": "get"}, ["/config"]),
        ({"action": "list", "key": "k"}, ["/config"]),
        ({"action": "get", "key": "../other/k"}, ["/config/key"]),
        ({"action": "get", "key": "a/./k"}, ["/config/key"]),
        ({"action": "put", "key": "k", "body": 1, "body_base64": "eA=="}, ["/config"]),
        ({"action": "get", "key": "k", "bucket": "No_Bucket"}, ["/config/bucket"]),
        ({"operation": "list", "maxKeys": 0}, ["/config/maxKeys"]),
    ],
)
def test_bad_configs_are_told_at_save(config: dict[str, Any], where: list[str]) -> None:
    assert faults(KIND, config) == where
