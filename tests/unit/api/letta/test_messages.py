"""Messages over the wire: answered, streamed, listed, repeated, refused; and runs that fail, are left and resumed."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kelpie.errors import ModelRefused, ModelUnavailable
from kelpie.limits import IDEMPOTENCY_KEY_BYTES_MAX
from kelpie.llm.messages import ModelReply, ReasoningPart, TextPart, ToolCallPart, Usage
from tests.unit.api.knocking import CLAUDE, MODEL, Visitor, say, visit

Run = Callable[[Any], Any]
UNKNOWN_AGENT = "agent-00000000-0000-4000-8000-000000000000"
UNKNOWN_RUN = "run-00000000-0000-4000-8000-000000000000"


def user(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text, **fields}]}


def calls(*names_and_arguments: tuple[str, str]) -> ModelReply:
    parts = tuple(
        ToolCallPart(call_id=f"c{at}", name=name, arguments=arguments)
        for at, (name, arguments) in enumerate(names_and_arguments)
    )
    return ModelReply(parts=parts, finish="tool_calls", usage=Usage(input_tokens=1, output_tokens=1))


async def messages_path(visitor: Visitor, **fields: Any) -> str:
    return f"/v1/agents/{(await visitor.agent(**fields))['id']}/messages"


def test_a_reply_of_several_parts_becomes_several_messages_of_one_id(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await messages_path(visitor)
            parts = (ReasoningPart(text="Hm.", signature="s"), TextPart(text="Hello"))
            visitor.models.script = [ModelReply(parts=parts, finish="stop", usage=Usage(input_tokens=7))]
            reply = await visitor.ok("POST", path, user("hi", name="ada"))
            thought, said = reply["messages"]
            assert thought["id"] == said["id"] and thought["otid"][:-1] == said["otid"][:-1]
            assert (thought["reasoning"], thought["signature"], thought["otid"][-1]) == ("Hm.", "s", "0")
            assert (said["content"], said["otid"][-1]) == ("Hello", "1")
            assert reply["usage"]["prompt_tokens"] == 7
            listed = await visitor.ok("GET", path)
            assert [one["message_type"] for one in listed] == [
                "system_message",
                "user_message",
                "reasoning_message",
                "assistant_message",
            ]
            assert listed[1]["name"] == "ada"

    run(scenario())


def test_all_calls_of_a_step_are_shown_and_all_their_returns(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await messages_path(visitor)
            good = '{"label":"human","new_string":"tea"}'
            bad = '{"label":"nope","new_string":"x"}'
            visitor.models.script = [calls(("memory_insert", good), ("memory_insert", bad)), say("done")]
            call, returned, said = (await visitor.ok("POST", path, user("go")))["messages"]
            assert [one["tool_call_id"] for one in call["tool_calls"]] == ["c0", "c1"]
            assert call["tool_call"] == call["tool_calls"][0]
            assert [one["status"] for one in returned["tool_returns"]] == ["success", "error"]
            assert (returned["tool_call_id"], returned["status"], returned["name"]) == (
                "c0",
                "success",
                "memory_insert",
            )
            assert said["content"] == "done"

    run(scenario())


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ModelRefused("openai says: bad key"), 400, "openai says: bad key"),
        (ModelUnavailable("openai says: overloaded"), 502, "openai says: overloaded"),
    ],
)
def test_a_failed_run_is_answered_with_the_providers_words_and_not_to_be_repeated(
    run: Run, error: Exception, status: int, words: str
) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await messages_path(visitor)
            visitor.models.script = [error, error]
            reply = await visitor.call("POST", path, user("hi"))
            assert (reply.status, words in reply.json["detail"]) == (status, True)
            assert reply.headers[b"x-should-retry"] == b"false"
            failed = await visitor.ok("GET", f"/v1/runs/{reply.headers[b'x-kelpie-run'].decode()}")
            assert (failed["status"], failed["metadata"]["error"]["message"]) == ("failed", reply.json["detail"])
            events = (await visitor.call("POST", f"{path}/stream", user("again"))).events
            assert [one["message_type"] for one in events] == [
                "ping",
                "error_message",
                "stop_reason",
                "usage_statistics",
            ]
            assert words in events[1]["message"] and events[1]["run_id"] == events[0]["run_id"]

    run(scenario())


def test_a_background_stream_is_resumed_exactly_where_it_was_left(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await messages_path(visitor)
            parts = (ReasoningPart(text="Hm"), TextPart(text="Hello"))
            good = ("memory_insert", '{"label":"human","new_string":"tea"}')
            visitor.models.script = [
                calls(good),
                ModelReply(parts=parts, finish="stop", usage=Usage()),
            ]
            body = {**user("hi"), "streaming": True, "background": True, "stream_tokens": True}
            events = (await visitor.call("POST", path, body)).events
            numbered = events[:-2]
            assert [one["seq_id"] for one in numbered] == [1, 2, 3, 4, 5]
            stream = f"/v1/runs/{events[0]['run_id']}/stream"
            for seen in range(6):
                again = (await visitor.call("POST", stream, {"starting_after": seen})).events
                assert [one for one in again[:-2] if one["message_type"] != "ping"] == [
                    one for one in numbered[seen:] if one["message_type"] != "ping"
                ]
                assert again[-2:] == events[-2:]
            assert (await visitor.call("POST", stream)).events[1:] == events[1:]

    run(scenario())


def test_pings_are_left_out_for_who_does_not_want_them(run: Run) -> None:
    async def scenario() -> list[str]:
        async with visit() as visitor:
            path = await messages_path(visitor)
            body = {**user("hi"), "include_pings": False}
            return [one["message_type"] for one in (await visitor.call("POST", f"{path}/stream", body)).events]

    assert run(scenario()) == ["assistant_message", "stop_reason", "usage_statistics"]


def test_only_the_types_asked_for_are_returned(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await messages_path(visitor)
            wanted = {"include_return_message_types": ["tool_return_message"]}
            script = [calls(("memory_insert", '{"label":"human","new_string":"tea"}')), say("ok")]
            visitor.models.script = [*script, *script]
            body = {**user("hi"), **wanted}
            reply = await visitor.ok("POST", path, body)
            assert [one["message_type"] for one in reply["messages"]] == ["tool_return_message"]
            events = (await visitor.call("POST", f"{path}/stream", {**body, "stream_tokens": True})).events
            assert [one["message_type"] for one in events[1:-2]] == ["tool_return_message"]
            listed = await visitor.ok("GET", path, query=wanted)
            assert [one["message_type"] for one in listed] == ["tool_return_message"] * 2

    run(scenario())


def test_a_page_counts_stored_messages_and_cursors_are_in_time(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await messages_path(visitor)
            for word in ("a", "b", "c"):
                await visitor.ok("POST", path, user(word))
            every = [one["id"] for one in await visitor.ok("GET", path, query={"order": "asc"})]
            assert len(every) == 7
            forwards, cursor = [], {}
            while page := await visitor.ok("GET", path, query={"order": "asc", "limit": 3, **cursor}):
                forwards += [one["id"] for one in page]
                cursor = {"after": page[-1]["id"]}
            backwards, cursor = [], {}
            while page := await visitor.ok("GET", path, query={"limit": 3, **cursor}):
                backwards = [*[one["id"] for one in page], *backwards]
                cursor = {"before": page[0]["id"]}
            assert forwards == backwards == every
            newer = await visitor.ok("GET", path, query={"after": every[4]})
            assert [one["id"] for one in newer] == every[5:]

    run(scenario())


def test_a_repeat_gets_the_first_answer_by_header_or_by_otids(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await messages_path(visitor)
            for more in ({"headers": {"Idempotency-Key": "k"}, "body": user("hi")}, {"body": user("ho", otid="o1")}):
                first, second = [await visitor.ok("POST", path, **more) for _ in range(2)]
                assert first == second
            assert len(visitor.models.requests) == 2
            other = await visitor.call("POST", path, user("other"), headers={"Idempotency-Key": "k"})
            assert other.status == 400
            long = await visitor.call(
                "POST", path, user("x"), headers={"Idempotency-Key": "k" * (IDEMPOTENCY_KEY_BYTES_MAX + 1)}
            )
            assert (long.status, "Idempotency-Key" in long.json["detail"]) == (422, True)
            twice = {"messages": [user("a", otid="o2")["messages"][0], user("b")["messages"][0]]}
            for _ in range(2):
                await visitor.ok("POST", path, twice)
            assert len(visitor.models.requests) == 4, "an otid on one message of two is no key"

    run(scenario())


def test_a_run_is_read_listed_cancelled_and_costs(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            agent = await visitor.agent()
            path = f"/v1/agents/{agent['id']}/messages"
            visitor.models.gate = asyncio.Event()
            first, second = [await visitor.ok("POST", f"{path}/async", user(word)) for word in ("a", "b")]
            assert (first["status"], first["background"], first["completed_at"]) == ("created", True, None)
            active = await visitor.ok("GET", "/v1/runs/", query={"agent_id": agent["id"], "active": "true"})
            assert [one["id"] for one in active] == [second["id"], first["id"]]
            cancelled = await visitor.ok("POST", f"{path}/cancel", {"run_ids": [first["id"]]})
            assert cancelled == {first["id"]: "cancelled"}
            assert await visitor.ok("POST", f"{path}/cancel") == {second["id"]: "cancelled"}
            visitor.models.gate = None
            third = await visitor.ok("POST", path, user("c"))
            run_id = third["messages"][0]["run_id"]
            usage = await visitor.ok("GET", f"/v1/runs/{run_id}/usage")
            assert usage["total_tokens"] == third["usage"]["total_tokens"]
            said = await visitor.ok("GET", f"/v1/runs/{run_id}/messages")
            assert [one["message_type"] for one in said] == ["user_message", "assistant_message"]
            assert [one["id"] for one in await visitor.ok("GET", "/v1/runs/", query={"agent_id": agent["id"]})] == [
                run_id,
                second["id"],
                first["id"],
            ]
            wrong = await visitor.call("POST", f"{await messages_path(visitor)}/cancel", {"run_ids": [run_id]})
            assert wrong.status == 404, "a run of another agent"

    run(scenario())


def test_one_message_may_name_another_model(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await messages_path(visitor)
            await visitor.ok("POST", path, {**user("hi"), "override_model": CLAUDE})
            assert visitor.models.requests[-1].model == CLAUDE.partition("/")[2]
            refused = await visitor.call("POST", path, {**user("hi"), "override_model": "openai/nope"})
            assert (refused.status, refused.json["detail"].startswith("NOT_FOUND: Handle openai/nope")) == (404, True)
            assert len(await visitor.ok("GET", path)) == 3

    run(scenario())


IMAGE = [{"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}]
REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({}, 422, "Must specify either"),
    ({"messages": []}, 422, "Messages must not be empty"),
    ({"messages": [], "input": "x"}, 422, "Cannot specify both"),
    ({"messages": [{"content": "x"}]}, 422, "('body', 'messages', 0, 'role')"),
    ({"messages": [{"role": "user"}]}, 422, "('body', 'messages', 0, 'content')"),
    ({"messages": [{"role": "tool", "content": "x"}]}, 422, "('body', 'messages', 0, 'role')"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, 422, "'content', 0, 'text'"),
    ({"messages": [{"role": "system", "content": IMAGE}]}, 422, "type 'image' has no place in a message of the role"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "letta", "file_id": "f"}}]}]},
        400,
        "has no data",
    ),
    (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}}
                    ],
                }
            ]
        },
        400,
        "not base64",
    ),
    (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": "eA=="}}
                    ],
                }
            ]
        },
        400,
        "'image/tiff' are not understood",
    ),
    ({"messages": [{"role": "user", "content": ""}]}, 400, "empty content in"),
    ({"messages": [{"type": "approval", "approvals": []}]}, 400, "this one is about 0"),
    (
        {"messages": [{"type": "approval", "approvals": [{"tool_call_id": "x", "approve": True}]}]},
        400,
        "No tool call is currently awaiting approval",
    ),
    (
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"type": "approval", "approvals": [{"tool_call_id": "x", "approve": True}]},
            ]
        },
        400,
        "before all other messages",
    ),
    ({"input": "x" * 400_001}, 422, "MESSAGE_BYTES_MAX"[:7].lower()),
    ({"messages": [{"role": "user", "content": "x"}] * 65}, 422, "65 messages are over the limit of 64"),
    ({"input": "x", "max_steps": 0}, 422, "('body', 'max_steps')"),
    ({"input": "x", "max_steps": 10**9}, 422, "('body', 'max_steps')"),
    ({"input": "x", "client_tools": [{"name": "t"}, {"name": "t"}]}, 400, "two tools have the name 't'"),
    ({"input": "x", "top_logprobs": 2}, 400, "top_logprobs needs return_logprobs"),
    ({"input": "x", "return_token_ids": True}, 400, "return_token_ids is not supported"),
    ({"input": "x", "callback_url": "http://x"}, 400, "callback_url is not supported"),
    ({"input": "x", "include_return_message_types": ["nope"]}, 422, "include_return_message_types"),
]


@pytest.mark.parametrize(("body", "status", "words"), REFUSED)
def test_what_cannot_be_sent_is_refused_and_nothing_happens(
    run: Run, body: dict[str, Any], status: int, words: str
) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await messages_path(visitor)
            reply = await visitor.call("POST", path, body)
            assert (reply.status, words in reply.json["detail"]) == (status, True), reply.body
            assert len(await visitor.ok("GET", path)) == 1 and visitor.models.requests == []

    run(scenario())


def test_what_is_not_there_is_not_found(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            agent = await visitor.agent()
            for method, path, body in (
                ("POST", f"/v1/agents/{UNKNOWN_AGENT}/messages", user("x")),
                ("POST", f"/v1/agents/{UNKNOWN_AGENT}/messages/stream", user("x")),
                ("POST", f"/v1/agents/{UNKNOWN_AGENT}/messages/async", user("x")),
                ("POST", f"/v1/agents/{UNKNOWN_AGENT}/messages/cancel", None),
                ("GET", f"/v1/agents/{UNKNOWN_AGENT}/messages", None),
                ("GET", f"/v1/agents/{agent['id']}/messages?after=message-{UNKNOWN_RUN[4:]}", None),
                ("GET", f"/v1/runs/{UNKNOWN_RUN}", None),
                ("GET", "/v1/runs/" + "x" * 5_000, None),
                ("POST", f"/v1/runs/{UNKNOWN_RUN}/stream", {}),
            ):
                plain, _, query = path.partition("?")
                pairs = dict([query.split("=")]) if query else None
                reply = await visitor.call(method, plain, body, query=pairs)
                assert reply.status == 404, (path[:80], reply.body)

    run(scenario())


def test_the_model_of_the_agent_is_asked(run: Run) -> None:
    async def scenario() -> str:
        async with visit() as visitor:
            await visitor.ok("POST", await messages_path(visitor), user("x"))
            return visitor.models.requests[0].model

    assert run(scenario()) == MODEL.partition("/")[2]
