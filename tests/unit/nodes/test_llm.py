"""`llm` against a local server that speaks the protocol."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from engine.model import AwaitSignal, Budget, Completed, Failed, Usage
from engine.task_ports import NodeContext
from engine.verdicts import ApprovalRequest
from tests.model_server import ModelServer, model_server
from tests.unit.nodes.harness import completed, connected, failure, faults, runner, timed_out

ASK = {"model": "gpt-4", "prompt": "Classify this customer inquiry"}
SCHEMA = {
    "type": "object",
    "properties": {"category": {"enum": ["technical", "general"]}, "n": {"type": "integer"}},
    "required": ["category"],
}


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    async with model_server() as models:
        yield models


def world(context: NodeContext, local: ModelServer, **more: Any) -> NodeContext:
    server = {"kind": "llm", "base_url": local.base_url, "api_key": "sk-local", **more}
    return connected(context, local=server)


async def test_the_example_of_the_document(context: NodeContext, models: ModelServer) -> None:
    config = {"model": "gpt-4", "prompt": "Say hello now", "temperature": 0.7, "max_tokens": 1000}
    prices = {"gpt-4": {"input": 30, "output": 60}}
    output = await completed("llm", config, world(context, models, prices=prices))
    assert output == {
        "text": "Hello",
        "json": None,
        "model": "gpt-4-2026",
        "finish_reason": "stop",
        "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4, "cost": 0.00015},
    }
    assert models.asked == [
        {
            "model": "gpt-4",
            "messages": [{"role": "user", "content": "Say hello now"}],
            "temperature": 0.7,
            "max_tokens": 1000,
        }
    ]
    assert models.headers[0]["Idempotency-Key"] == "7/a/"


async def test_the_fields_of_a_json_answer_can_be_asked_for(context: NodeContext, models: ModelServer) -> None:
    """`{{classify.output.category}}` of the support example, which asks for nothing but a prompt."""
    models.reply = '```json\n{"category": "technical", "text": "not this"}\n```'
    output = await completed("llm", ASK, world(context, models))
    assert output["category"] == "technical"
    assert output["json"] == {"category": "technical", "text": "not this"}
    assert output["text"] == models.reply
    assert output["usage"]["cost"] is None


async def test_messages_and_a_system_text(context: NodeContext, models: ModelServer) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    await completed("llm", {"model": "m", "messages": messages, "systemPrompt": "be kind"}, world(context, models))
    assert models.asked[0]["messages"] == [{"role": "system", "content": "be kind"}, *messages]


async def test_json_is_asked_for_and_checked(context: NodeContext, models: ModelServer) -> None:
    models.replies = [
        '{"category": "technical", "n": 1}',
        '{"category": "other", "n": "x"}',
        "technical",
        '{"category":',
    ]
    here = world(context, models)
    config = {**ASK, "json_schema": SCHEMA}
    assert (await completed("llm", config, here))["json"] == {"category": "technical", "n": 1}
    form = models.asked[0]["response_format"]
    assert (form["type"], form["json_schema"]["schema"]) == ("json_schema", SCHEMA)
    wrong = await failure("llm", config, here)
    assert (wrong.type, wrong.retryable) == ("llm_output", True)
    assert "/category" in wrong.message
    assert "/n" in wrong.message
    assert "not JSON: 'technical'" in (await failure("llm", config, here)).message
    models.finish_reason = "length"
    assert "cut off by max_tokens" in (await failure("llm", config, here)).message


async def test_json_without_a_schema(context: NodeContext, models: ModelServer) -> None:
    models.replies = ["[1, 2]", "5", "no"]
    config = {**ASK, "response_format": "json"}
    here = world(context, models)
    assert [(await completed("llm", config, here))["json"] for _ in range(2)] == [[1, 2], 5]
    assert models.asked[0]["response_format"] == {"type": "json_object"}
    assert (await failure("llm", config, here)).type == "llm_output"


@pytest.mark.parametrize(("status", "retryable"), [(429, True), (500, True), (503, True), (400, False), (404, False)])
async def test_a_refusal_of_the_server(context: NodeContext, models: ModelServer, status: int, retryable: bool) -> None:
    models.reply = status
    error = await failure("llm", ASK, world(context, models))
    assert (error.type, error.retryable) == ("llm", retryable)
    assert f"answered {status}: status {status}" in error.message


async def test_a_wrong_key_is_not_repeated(context: NodeContext, models: ModelServer) -> None:
    error = await failure("llm", ASK, world(context, models, api_key="sk-mistaken"))
    assert not error.retryable
    assert "sk-mistaken" not in error.message


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"choices": []}, "bad_answer"),
        ({}, "bad_answer"),
        ({"choices": [{"message": {"content": None, "refusal": "I will not"}}]}, "llm_refused"),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}, "llm_refused"),
    ],
)
async def test_an_answer_that_is_none(
    context: NodeContext, models: ModelServer, reply: dict[str, Any], kind: str
) -> None:
    models.reply = reply
    assert (await failure("llm", ASK, world(context, models))).type == kind


async def test_a_server_that_counts_nothing(context: NodeContext, models: ModelServer) -> None:
    models.reply = {"choices": [{"message": {"content": "x"}}]}
    output = await completed("llm", ASK, world(context, models))
    assert (output["model"], set(output["usage"].values())) == ("gpt-4", {None})


async def test_servers_come_from_the_settings_only(context: NodeContext, models: ModelServer) -> None:
    error = await failure("llm", ASK, context)
    assert (error.type, error.retryable) == ("unknown_connection", False)
    assert faults("llm", {**ASK, "base_url": "http://evil"}) == ["/config/base_url"]
    here = world(context, models, models=["gpt-4", "small"])
    assert (await failure("llm", {**ASK, "model": "big"}, here)).type == "unknown_model"
    assert (await failure("llm", {**ASK, "connection": "other"}, here)).type == "unknown_connection"
    await completed("llm", {**ASK, "connection": "local"}, here)
    two = connected(
        context, a={"kind": "llm", "base_url": models.base_url}, b={"kind": "llm", "base_url": models.base_url}
    )
    assert "say which llm connection; CONNECTIONS has: a, b" in (await failure("llm", ASK, two)).message


async def test_a_slow_model_times_out_and_can_be_cancelled(context: NodeContext, models: ModelServer) -> None:
    models.slow = True
    here = world(context, models)
    await timed_out(here, "llm", ASK)
    error = await failure("llm", {**ASK, "timeout": 0.1}, here)
    assert (error.type, error.retryable) == ("timeout", True)
    models.left.clear()
    models.reached.clear()
    async with runner(here) as attempts:
        await attempts.cancelled("llm", ASK, models.reached)
    await models.left.wait()


async def test_it_can_be_tried_again(context: NodeContext, models: ModelServer) -> None:
    models.replies = [429]
    async with runner(world(context, models)) as attempts:
        first = await attempts.result("llm", ASK)
        second = await attempts.result("llm", ASK, attempt=2)
    assert isinstance(first, Failed)
    assert first.retryable
    assert isinstance(second, Completed)


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({}, ["/config/model"]),
        ({"model": "m"}, ["/config"]),
        ({"model": "m", "prompt": "a", "messages": [{"role": "user", "content": "b"}]}, ["/config"]),
        ({**ASK, "temperature": 3}, ["/config/temperature"]),
        ({**ASK, "maxTokens": 0}, ["/config/maxTokens"]),
        ({"model": "m", "messages": [{"role": "robot", "content": "x"}]}, ["/config/messages/0/role"]),
        ({**ASK, "json_schema": {"type": "objekt"}}, ["/config/json_schema"]),
        ({**ASK, "json_schema": {"$ref": "http://127.0.0.1:1/schema.json"}}, ["/config/json_schema"]),
        ({"model": "m", "prompt": "{{input.x}}"}, []),
    ],
)
def test_bad_configs_are_told_at_save(config: dict[str, Any], where: list[str]) -> None:
    assert faults("llm", config) == where


PRICED = {"prices": {"gpt-4": {"input": 30, "output": 60}}}
"""ASK is 4 tokens, guessed to be 15: 0.00045; an answer of at least one token 0.00006."""


@pytest.mark.parametrize(
    ("budget", "more", "says"),
    [
        (
            {"tokens": 15},
            {},
            "about 15 tokens in and 1 out, and cost 0.00051; the budget of the task has 15 tokens left",
        ),
        ({"tokens": 1000}, {"max_tokens": 986}, "15 tokens in and 986 out"),
        ({"cost": 0.0005}, {}, "the budget of the task has a cost of 0.0005 left"),
        ({"cost": 0.0005, "tokens": 16}, {}, "has 16 tokens and a cost of 0.0005 left"),
        ({"cost": 0.01}, {"max_tokens": 1000}, "0.06045"),
        ({"tokens": 0}, {}, "0 tokens left"),
        ({"tokens": 16}, {"json_schema": SCHEMA}, "the budget of the task has 16 tokens left"),
    ],
)
async def test_a_call_beyond_its_budget_is_not_made(
    context: NodeContext, models: ModelServer, budget: dict[str, Any], more: dict[str, Any], says: str
) -> None:
    error = await failure("llm", {**ASK, **more, "budget": budget}, world(context, models, **PRICED))
    assert (error.type, error.retryable) == ("budget_exceeded", False)
    assert says in error.message
    assert models.asked == []


@pytest.mark.parametrize("budget", [{"tokens": 16}, {"cost": 0.00051}, {"cost": 1, "tokens": 100}])
async def test_a_call_within_its_budget_is_made(
    context: NodeContext, models: ModelServer, budget: dict[str, Any]
) -> None:
    await completed("llm", {**ASK, "budget": budget}, world(context, models, **PRICED))
    assert len(models.asked) == 1


async def test_more_is_asked_for_if_the_budget_says_so(context: NodeContext, models: ModelServer) -> None:
    async with runner(world(context, models, **PRICED)) as attempts:
        result = await attempts.result("llm", ASK, budget=Budget(0.0005, 10, "ask"))
    assert isinstance(result, AwaitSignal)
    assert result.ask is not None
    request = msgspec.convert(result.ask.details, ApprovalRequest)
    assert request.form is not None
    assert request.form["properties"]["tokens"]["minimum"] == 6
    assert request.form["properties"]["cost"]["minimum"] == 0.00001
    assert request.form["required"] == ["cost", "tokens"]
    assert models.asked == []
    assert faults("llm", {**ASK, "budget": {"tokens": 5, "on_exceeded": "ask"}}) == ["/config/budget"]


async def test_a_cost_cannot_bound_a_model_without_a_price(context: NodeContext, models: ModelServer) -> None:
    error = await failure("llm", {**ASK, "budget": {"cost": 1}}, world(context, models))
    assert (error.type, error.retryable) == ("no_price", False)
    assert "'gpt-4' has no price" in error.message
    await completed("llm", {**ASK, "budget": {"tokens": 100}}, world(context, models))
    assert len(models.asked) == 1


async def test_what_is_left_of_the_execution_counts_too(context: NodeContext, models: ModelServer) -> None:
    async with runner(world(context, models, **PRICED)) as attempts:
        left = Budget(cost=0.001).after(Usage(10, 10, 0.0005))
        result = await attempts.result("llm", {**ASK, "budget": {"cost": 1}}, budget=left)
    assert isinstance(result, Failed)
    assert "the budget of the execution has a cost of 0.0005 left" in result.error.message
    assert result.usage is None


async def test_headers_of_the_task_go_before_those_of_the_connection(context: NodeContext, models: ModelServer) -> None:
    here = world(context, models, headers={"X-Team": "a", "X-Other": "b"}, api_key="sk-wrong")
    await completed("llm", {**ASK, "api_key": "sk-local", "headers": {"x-team": "c"}}, here)
    assert models.headers[0]["X-Other"] == "b"
    assert {name: value for name, value in models.headers[0].items() if name.lower() == "x-team"} == {"x-team": "c"}


async def test_what_failed_has_spent_all_the_same(context: NodeContext, models: ModelServer) -> None:
    here = world(context, models, **PRICED)
    models.reply = "no JSON"
    assert (await failure("llm", {**ASK, "response_format": "json"}, here)).usage == Usage(4, 2, 0.00024)
    models.finish_reason = "content_filter"
    assert (await failure("llm", ASK, here)).usage == Usage(4, 2, 0.00024)
    models.reply = 503
    assert (await failure("llm", ASK, here)).usage is None
