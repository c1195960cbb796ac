"""`send_notification` to a real mail server, real webhooks, and the log."""

from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from engine.connections import Connections
from engine.errors import ConfigurationError
from engine.model import Completed, Failed
from engine.task_ports import NodeContext
from tests.unit.egress.web import Site
from tests.unit.nodes.harness import CATALOG, completed, connected, failure, faults, runner, timed_out
from tests.unit.nodes.mailbox import Mailbox, mailbox

KIND = "send_notification"


def smtp(box: Mailbox, **more: Any) -> dict[str, Any]:
    return {
        "kind": "smtp",
        "host": "127.0.0.1",
        "port": box.port,
        "security": "none",
        "sender": "millrace@example.org",
        "roles": ["AE"],
        "addresses": {"AE": ["ana@example.org", "bo@example.org"], "cy": ["cy@example.org"]},
        **more,
    }


async def test_without_any_settings_it_is_written_to_the_log(context: NodeContext) -> None:
    """The notice of the lead example: a role, a message, nothing configured."""
    with capture_logs() as lines:
        output = await completed(KIND, {"to_role": "AE", "message": "New hot lead"}, context)
    assert output == {"delivered": [{"channel": "log", "kind": "log"}]}
    (line,) = [line for line in lines if line["event"] == "notification"]
    assert (line["message"], line["roles"]) == ("New hot lead", ("AE",))


async def test_a_letter_goes_to_all_addresses_of_a_role(context: NodeContext) -> None:
    async with mailbox() as box:
        world = connected(context, mail=smtp(box))
        output = await completed(KIND, {"to_role": "AE", "message": "Grüße\nzwei", "title": "Neu"}, world)
        await completed(KIND, {"to_role": "AE", "message": "Grüße\nzwei", "title": "Neu"}, world)
    assert output == {"delivered": [{"channel": "mail", "kind": "smtp"}]}
    assert box.letters[0].rcpt_tos == ["ana@example.org", "bo@example.org"]
    text = box.text()
    assert "Subject: Neu\n" in text
    ids = {line for i in (0, 1) for line in box.text(i).splitlines() if line.startswith("Message-ID:")}
    assert len(ids) == 1


async def test_the_mail_server_may_want_a_password(context: NodeContext) -> None:
    async with mailbox(auth=True) as box:
        world = connected(context, mail=smtp(box, username="me", password="secret"))
        await completed(KIND, {"to_role": "AE", "message": "x"}, world)
        world = connected(context, mail=smtp(box, username="me", password="wrong"))
        error = await failure(KIND, {"to_role": "AE", "message": "x"}, world)
    assert set(box.users) == {(b"me", b"secret"), (b"me", b"wrong")}
    assert (error.type, error.retryable) == ("notification", False)
    assert "wrong" not in error.message


async def test_other_addresses_only_where_the_channel_says_so(context: NodeContext) -> None:
    config = {"to": "customer@example.com", "message": "x", "channels": "mail"}
    async with mailbox() as box:
        error = await failure(KIND, config, connected(context, mail=smtp(box)))
        assert not error.retryable
        await completed(KIND, config, connected(context, mail=smtp(box, any_address=True)))
        del config["channels"]
        await completed(KIND, config, connected(context, mail=smtp(box, any_address=True)))
    assert [letter.rcpt_tos for letter in box.letters] == [["customer@example.com"]] * 2


@pytest.mark.parametrize(("answer", "retryable"), [("550 no", False), ("451 later", True)])
async def test_a_refused_address_is_a_failure(context: NodeContext, answer: str, retryable: bool) -> None:
    async with mailbox() as box:
        box.refuse, box.answer = {"bo@example.org"}, answer
        error = await failure(KIND, {"to_role": "AE", "message": "x"}, connected(context, mail=smtp(box)))
        box.refuse = {"ana@example.org", "bo@example.org"}
        both = await failure(KIND, {"to_role": "AE", "message": "x"}, connected(context, mail=smtp(box)))
    assert (error.type, error.retryable, both.retryable) == ("notification", retryable, retryable)
    assert answer[:3] in error.message


@pytest.mark.parametrize("title", ["a\nBcc: all@example.org", "a\r\n\r\nb"])
async def test_a_header_cannot_be_smuggled_in(context: NodeContext, title: str) -> None:
    async with mailbox() as box:
        error = await failure(
            KIND, {"to_role": "AE", "message": "x", "title": title}, connected(context, mail=smtp(box))
        )
        assert box.letters == []
    assert not error.retryable


async def test_webhook_and_chat_get_json(context: NodeContext, here: Site) -> None:
    world = connected(
        context,
        hook={"kind": "webhook", "url": here.url("/hook"), "headers": {"X-Key": "k"}, "users": ["*"]},
        chat={"kind": "slack", "url": here.url("/chat"), "users": ["ana"]},
        other={"kind": "slack", "url": here.url("/other"), "users": ["bo"]},
    )
    config = {"headers": {"x-key": "own"}, "to_user": ["ana"], "title": "T", "message": "a < b & c", "data": {"n": 1}}
    output = await completed(KIND, config, world)
    assert [one["channel"] for one in output["delivered"]] == ["hook", "chat"]
    bodies = {path: msgspec.json.decode(body) for (_, path, _), body in zip(here.asked, here.bodies, strict=True)}
    assert bodies["/hook"]["users"] == ["ana"]
    assert bodies["/hook"]["data"] == {"n": 1}
    assert bodies["/chat"] == {"text": "*T*\na &lt; b &amp; c"}
    keys = {path: headers.getall("X-Key", []) for _, path, headers in here.asked}
    assert keys == {"/hook": ["own"], "/chat": []}
    assert {headers["Idempotency-Key"] for _, _, headers in here.asked} == {"7/a/hook", "7/a/chat"}


async def test_named_channels_are_taken_whoever_is_told(context: NodeContext, here: Site) -> None:
    world = connected(context, chat={"kind": "slack", "url": here.url("/chat")})
    output = await completed(KIND, {"message": "x", "channel": ["chat", "log", "chat"]}, world)
    assert [one["channel"] for one in output["delivered"]] == ["chat", "log"]
    error = await failure(KIND, {"message": "x", "channel": "chatt"}, world)
    assert (error.type, error.retryable) == ("unknown_connection", False)


async def test_a_channel_that_fails_does_not_keep_the_others(context: NodeContext, here: Site) -> None:
    here.statuses = [503]
    async with mailbox() as box:
        world = connected(
            context,
            chat={"kind": "slack", "url": here.url("/services/secret"), "roles": ["AE"]},
            mail=smtp(box),
        )
        async with runner(world) as attempts:
            first = await attempts.result(KIND, {"to_role": "AE", "message": "x"})
            second = await attempts.result(KIND, {"to_role": "AE", "message": "x"}, attempt=2)
        assert len(box.letters) == 2
    assert isinstance(first, Failed)
    assert first.retryable
    assert "chat: 127.0.0.1 answered 503" in first.error.message
    assert "secret" not in first.error.message
    assert isinstance(second, Completed)


async def test_an_unreachable_chat_does_not_tell_its_url(context: NodeContext) -> None:
    world = connected(context, chat={"kind": "slack", "url": "http://127.0.0.1:1/services/secret", "roles": ["*"]})
    error = await failure(KIND, {"message": "x"}, world)
    assert error.retryable
    assert "secret" not in error.message


async def test_a_slow_server_times_out_and_can_be_left(context: NodeContext, here: Site) -> None:
    world = connected(context, chat={"kind": "slack", "url": here.url("/slow"), "roles": ["*"]})
    await timed_out(world, KIND, {"message": "x"})
    async with runner(world) as attempts:
        await attempts.cancelled(KIND, {"message": "x"}, here.reached)
    async with mailbox() as box:
        box.slow = True
        world = connected(context, mail=smtp(box))
        error = await failure(KIND, {"message": "x", "to_role": "AE", "timeout": 0.2}, world)
        assert error.retryable
        assert "within 0.2 s" in error.message
        async with runner(world) as attempts:
            await attempts.cancelled(KIND, {"message": "x", "to_role": "AE", "timeout": 0.2}, box.reached)


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({}, ["/config/message"]),
        ({"message": ""}, ["/config/message"]),
        ({"message": "x", "toRole": 1}, ["/config/toRole"]),
        ({"message": "x", "toRole": "a", "to_role": "b"}, ["/config/toRole"]),
        ({"message": "x", "whom": "a"}, ["/config/whom"]),
    ],
)
def test_bad_configs_are_told_at_save(config: dict[str, Any], where: list[str]) -> None:
    assert faults(KIND, config) == where


def test_the_spelling_of_the_document_is_stored_as_ours() -> None:
    stored = CATALOG.canonical("send_notification", {"toRole": "AE", "message": "New hot lead"})
    assert stored == ("send_notification", {"to_role": "AE", "message": "New hot lead"})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mail": {"kind": "smpt"}}, "mail: its kind is one of"),
        ({"mail": {}}, "mail: its kind is one of"),
        ({"mail": {"kind": "smtp", "host": "h"}}, "mail: .*`sender`"),
        ({"chat": {"kind": "slack", "url": 5, "extra": "secret"}}, "chat: "),
    ],
)
def test_wrong_settings_are_told_at_start(settings: dict[str, dict[str, Any]], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        Connections(settings, CATALOG.connection_kinds())
    assert "secret" not in caught.value.message
