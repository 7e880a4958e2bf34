"""The official Python client, unmodified, talks with agents: whole answers, streams, runs, tools, history."""

import asyncio
import re
from datetime import datetime

import pytest
from letta_client import AsyncLetta, Letta

from tests.system.server import KelpieServer, ModelServer
from tests.system.talk import ANTHROPIC, OPENAI, REHEARSED, insert_into, mark, reply_with, wait_for
from tests.wire.conftest import BLOCKS, MakeAgent
from tests.wire.reading import kinds, only, user

UUID4 = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def test_a_message_is_answered(client: Letta, make_agent: MakeAgent, model: str) -> None:
    agent, word = make_agent(model), mark()
    reply = client.agents.messages.create(agent.id, messages=user(reply_with(word)))
    said = only(reply.messages, "assistant_message")
    assert (said.content, reply.stop_reason.stop_reason) == (word, "end_turn")
    assert re.fullmatch(f"message-{UUID4}", said.id) and re.fullmatch(f"step-{UUID4}", said.step_id)
    assert re.fullmatch(f"run-{UUID4}", said.run_id) and said.date.utcoffset() is not None
    assert said.otid[:-2] == said.id.removeprefix("message-")[:-2], "the otid is the id with the part's index"
    usage = reply.usage
    assert (usage.step_count, usage.total_tokens) == (1, usage.prompt_tokens + usage.completion_tokens)


def test_input_is_a_short_form_of_a_user_message(client: Letta, make_agent: MakeAgent) -> None:
    agent, word = make_agent(), mark()
    reply = client.agents.messages.create(agent.id, input=reply_with(word))
    assert only(reply.messages, "assistant_message").content == word
    assert only(client.agents.messages.list(agent.id).items, "user_message").content == reply_with(word)


def test_content_may_be_a_list_of_parts(client: Letta, make_agent: MakeAgent, model: str) -> None:
    agent, word = make_agent(model), mark()
    parts = [{"type": "text", "text": reply_with(word)}]
    reply = client.agents.messages.create(agent.id, messages=[{"role": "user", "content": parts}])
    assert only(reply.messages, "assistant_message").content == word


@pytest.mark.parametrize("handle", [OPENAI, ANTHROPIC])
def test_the_model_sees_blocks_and_earlier_messages(
    client: Letta, make_agent: MakeAgent, models: ModelServer, handle: str
) -> None:
    first, second, fact = mark(), mark(), mark("fact")
    agent = make_agent(handle, memory_blocks=[{"label": "human", "value": fact}])
    for word in (first, second):
        client.agents.messages.create(agent.id, messages=user(reply_with(word)))
    prompts = models.requests(second)
    assert len(prompts) == 1
    assert all(text in str(prompts[0]) for text in (fact, reply_with(first), reply_with(second)))


def test_a_memory_tool_is_called_and_the_block_changes(client: Letta, make_agent: MakeAgent, model: str) -> None:
    agent, fact = make_agent(model), mark("fact")
    reply = client.agents.messages.create(agent.id, messages=user(insert_into("human", fact)))
    shown = [kind for kind in kinds(reply.messages) if kind != "assistant_message"]
    assert shown == ["tool_call_message", "tool_return_message"]
    assert kinds(reply.messages)[-1] == "assistant_message"
    call, result = only(reply.messages, "tool_call_message"), only(reply.messages, "tool_return_message")
    assert call.tool_call.name == "memory_insert" and fact in call.tool_call.arguments
    assert (result.status, result.tool_call_id) == ("success", call.tool_call.tool_call_id)
    assert (result.name, call.step_id) == ("memory_insert", result.step_id)
    assert reply.usage.step_count == 2
    value = client.agents.blocks.retrieve("human", agent_id=agent.id).value
    assert value.startswith("Name: Ada") and value.count(fact) == 1


def test_a_failed_tool_call_is_told_to_the_model_and_the_turn_goes_on(
    client: Letta, make_agent: MakeAgent, model: str
) -> None:
    agent = make_agent(model)
    reply = client.agents.messages.create(agent.id, messages=user(insert_into("no_such_label", "x")))
    assert only(reply.messages, "tool_return_message").status == "error"
    assert reply.stop_reason.stop_reason == "end_turn"


def test_streaming_by_steps(client: Letta, make_agent: MakeAgent, model: str) -> None:
    agent, word = make_agent(model), mark()
    with client.agents.messages.create(agent.id, messages=user(reply_with(word)), streaming=True) as stream:
        events = list(stream)
    assert kinds(events) == ["ping", "assistant_message", "stop_reason", "usage_statistics"]
    said = only(events, "assistant_message")
    assert (said.content, said.run_id, said.seq_id) == (word, events[0].run_id, None)
    assert only(events, "stop_reason").stop_reason == "end_turn"
    assert only(events, "usage_statistics").step_count == 1
    assert said.id in [one.id for one in client.agents.messages.list(agent.id)]


def test_streaming_by_tokens_adds_up_to_the_stored_message(client: Letta, make_agent: MakeAgent, model: str) -> None:
    agent, text = make_agent(model), "alpha beta gamma delta"
    stream = client.agents.messages.create(
        agent.id, messages=user(reply_with(text)), streaming=True, stream_tokens=True
    )
    events = list(stream)
    pieces = [one for one in events if one.message_type == "assistant_message"]
    assert len(pieces) > 1 and len({(one.id, one.otid) for one in pieces}) == 1
    assert "".join(one.content for one in pieces) == text
    stored = only(client.agents.messages.list(agent.id), "assistant_message")
    assert (stored.content, stored.id, stored.otid) == (text, pieces[0].id, pieces[0].otid)
    assert kinds(events)[-2:] == ["stop_reason", "usage_statistics"]


def test_streaming_a_tool_call_by_tokens(client: Letta, make_agent: MakeAgent, model: str) -> None:
    agent, fact = make_agent(model), mark("fact")
    stream = client.agents.messages.stream(agent.id, messages=user(insert_into("human", fact)), stream_tokens=True)
    events = list(stream)
    calls = [one.tool_call for one in events if one.message_type == "tool_call_message"]
    assert calls[0].name == "memory_insert" and len({one.tool_call_id for one in calls}) == 1
    arguments = "".join(one.arguments or "" for one in calls)
    stored = only(client.agents.messages.list(agent.id), "tool_call_message").tool_call
    assert (arguments, calls[0].tool_call_id) == (stored.arguments, stored.tool_call_id)
    assert only(events, "tool_return_message").status == "success"
    assert only(events, "usage_statistics").step_count == 2


def test_a_background_stream_is_left_and_resumed_without_gap_or_repeat(
    client: Letta, make_agent: MakeAgent, model: str
) -> None:
    agent, text = make_agent(model), "one two three four five six"
    stream = client.agents.messages.create(
        agent.id, messages=user(reply_with(text)), streaming=True, stream_tokens=True, background=True
    )
    seen = [next(iter(stream)) for _ in range(2)]
    stream.close()
    assert seen[0].message_type == "ping" and [one.seq_id for one in seen] == [1, 2]
    rest = list(client.runs.messages.stream(seen[0].run_id, starting_after=2))
    numbers = [one.seq_id for one in seen + rest if one.message_type not in ("stop_reason", "usage_statistics")]
    assert numbers == sorted(set(numbers)) and numbers[0] == 1
    assert kinds(rest)[-2:] == ["stop_reason", "usage_statistics"]
    pieces = [one.content for one in seen + rest if one.message_type == "assistant_message"]
    assert "".join(pieces) == text


def test_a_finished_run_is_streamed_again_from_its_beginning(client: Letta, make_agent: MakeAgent) -> None:
    agent, word = make_agent(), mark()
    first = list(client.agents.messages.create(agent.id, input=reply_with(word), streaming=True, background=True))
    again = list(client.runs.messages.stream(first[0].run_id, starting_after=0))
    texts = [[one.content for one in events if one.message_type == "assistant_message"] for events in (first, again)]
    assert texts == [[word], [word]]
    assert kinds(again)[-2:] == ["stop_reason", "usage_statistics"]


def test_an_asynchronous_message_is_answered_later(client: Letta, make_agent: MakeAgent, model: str) -> None:
    agent, word = make_agent(model), mark()
    run = client.agents.messages.create_async(agent.id, messages=user(reply_with(word)))
    assert (run.agent_id, run.status, run.background) == (agent.id, "created", True)
    ended = wait_for(lambda: client.runs.retrieve(run.id), lambda one: one.status not in ("created", "running"))
    assert (ended.status, ended.stop_reason) == ("completed", "end_turn")
    assert isinstance(ended.completed_at, datetime)
    messages = client.runs.messages.list(run.id).items
    assert kinds(messages) == ["user_message", "assistant_message"]
    assert messages[-1].content == word
    assert [one.id for one in client.runs.list(agent_id=agent.id)] == [run.id]


def test_messages_are_listed_page_by_page(client: Letta, make_agent: MakeAgent) -> None:
    agent, said = make_agent(), [mark() for _ in range(5)]
    for word in said:
        client.agents.messages.create(agent.id, messages=user(reply_with(word)))
    oldest_first = list(client.agents.messages.list(agent.id, limit=4, order="asc"))
    assert len({one.id for one in oldest_first}) == len(oldest_first) == 11
    assert kinds(oldest_first) == ["system_message", *["user_message", "assistant_message"] * 5]
    assert [one.content for one in oldest_first if one.message_type == "assistant_message"] == said
    assert [one.date for one in oldest_first] == sorted(one.date for one in oldest_first)


def test_a_page_of_messages_is_bounded_by_before_and_after(client: Letta, make_agent: MakeAgent) -> None:
    agent = make_agent()
    for _ in range(3):
        client.agents.messages.create(agent.id, messages=user(reply_with(mark())))
    every = [one.id for one in client.agents.messages.list(agent.id, order="asc").items]
    after = client.agents.messages.list(agent.id, order="asc", after=every[1], limit=2).items
    assert [one.id for one in after] == every[2:4]
    before = client.agents.messages.list(agent.id, order="asc", before=every[2]).items
    assert [one.id for one in before] == every[:2]


def test_a_chat_is_read_backwards_and_polled(client: Letta, make_agent: MakeAgent) -> None:
    """As on the retired server: the newest page, its oldest first; `before` is older and `after` newer in any order."""
    agent = make_agent()
    for _ in range(3):
        client.agents.messages.create(agent.id, messages=user(reply_with(mark())))
    every = [one.id for one in client.agents.messages.list(agent.id, order="asc").items]

    def page(**query: str) -> list[str]:
        return [one.id for one in client.agents.messages.list(agent.id, limit=2, **query).items]

    assert page() == page(order="desc") == every[-2:]
    assert page(before=every[-2]) == every[-4:-2]
    assert page(before=every[-4]) == every[-6:-4]
    assert page(after=every[-1]) == []
    assert page(after=every[-2]) == every[-1:]
    assert page(after=every[0]) == every[-2:]
    assert page(after=every[0], before=every[-1]) == every[-3:-1]


def test_messages_are_listed_by_type(client: Letta, make_agent: MakeAgent) -> None:
    agent, word = make_agent(), mark()
    client.agents.messages.create(agent.id, messages=user(reply_with(word)))
    listed = client.agents.messages.list(agent.id, include_return_message_types=["assistant_message"]).items
    assert [one.content for one in listed] == [word]


def test_a_read_only_block_refuses_the_agent_but_not_its_owner(
    client: Letta, make_agent: MakeAgent, model: str
) -> None:
    agent = make_agent(model, memory_blocks=[{"label": "rules", "value": "fixed", "read_only": True}])
    reply = client.agents.messages.create(agent.id, messages=user(insert_into("rules", "mine")))
    assert only(reply.messages, "tool_return_message").status == "error"
    assert client.agents.blocks.retrieve("rules", agent_id=agent.id).value == "fixed"
    assert client.agents.blocks.update("rules", agent_id=agent.id, value="changed").value == "changed"


def test_a_tool_does_not_write_beyond_the_blocks_limit(client: Letta, make_agent: MakeAgent) -> None:
    agent = make_agent(memory_blocks=[{"label": "small", "value": "1234567", "limit": 10}])
    reply = client.agents.messages.create(agent.id, messages=user(insert_into("small", "four more")))
    result = only(reply.messages, "tool_return_message")
    assert result.status == "error" and "10" in result.tool_return
    assert client.agents.blocks.retrieve("small", agent_id=agent.id).value == "1234567"


def test_one_message_may_override_the_model(client: Letta, make_agent: MakeAgent, models: ModelServer) -> None:
    agent, word = make_agent(REHEARSED), mark()
    reply = client.agents.messages.create(agent.id, messages=user(reply_with(word)), override_model=OPENAI)
    assert only(reply.messages, "assistant_message").content == word
    assert len(models.requests(word)) == 1
    assert client.agents.retrieve(agent.id).model == REHEARSED


def test_a_repeat_under_the_same_key_gets_the_first_answer(client: Letta, make_agent: MakeAgent, model: str) -> None:
    agent, word = make_agent(model), mark()
    answers = [
        client.agents.messages.create(
            agent.id, messages=user(reply_with(word)), extra_headers={"Idempotency-Key": word}
        )
        for _ in range(2)
    ]
    assert answers[0].to_dict() == answers[1].to_dict()
    assert len(client.agents.messages.list(agent.id).items) == len(answers[0].messages) + 2


def test_a_repeat_with_the_same_otid_gets_the_first_answer(client: Letta, make_agent: MakeAgent) -> None:
    agent, word, otid = make_agent(), mark(), mark("otid")
    answers = [client.agents.messages.create(agent.id, messages=user(reply_with(word), otid=otid)) for _ in range(2)]
    assert answers[0].to_dict() == answers[1].to_dict()
    stored = only(client.agents.messages.list(agent.id).items, "user_message")
    assert (stored.content, stored.otid) == (reply_with(word), otid)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_turn_is_cancelled_in_the_middle_of_a_model_call(
    client: Letta, make_agent: MakeAgent, models: ModelServer, provider: str
) -> None:
    agent, word = make_agent(f"{provider}/slow-20000"), mark()
    run = client.agents.messages.create_async(agent.id, messages=user(word))
    wait_for(lambda: models.requests(word), len)
    assert client.agents.messages.cancel(agent.id, run_ids=[run.id]) == {run.id: "cancelled"}
    ended = client.runs.retrieve(run.id)
    assert (ended.status, ended.stop_reason) == ("cancelled", "cancelled")
    client.agents.update(agent.id, model=REHEARSED)
    reply = client.agents.messages.create(agent.id, messages=user(reply_with("after")))
    assert only(reply.messages, "assistant_message").content == "after"


def test_resetting_empties_the_window(client: Letta, make_agent: MakeAgent, models: ModelServer) -> None:
    agent, before, after = make_agent(OPENAI), mark(), mark()
    client.agents.messages.create(agent.id, messages=user(reply_with(before)))
    assert len(client.agents.retrieve(agent.id).message_ids) == 3
    client.agents.messages.reset(agent.id, add_default_initial_messages=False)
    assert len(client.agents.retrieve(agent.id).message_ids) == 1
    client.agents.messages.create(agent.id, messages=user(reply_with(after)))
    assert before not in str(models.requests(after)[0])


def test_the_asynchronous_client_talks_to_several_agents_at_once(server: KelpieServer) -> None:
    async def converse(client: AsyncLetta, word: str) -> list[str]:
        agent = await client.agents.create(model=REHEARSED, memory_blocks=BLOCKS)
        stream = await client.agents.messages.create(
            agent.id, messages=user(reply_with(word)), streaming=True, stream_tokens=True
        )
        pieces = [one.content async for one in stream if one.message_type == "assistant_message"]
        listed = [one async for one in client.agents.messages.list(agent.id, limit=1)]
        await client.agents.delete(agent.id)
        return ["".join(pieces), listed[0].content]

    async def everyone() -> list[list[str]]:
        async with AsyncLetta(base_url=server.url, api_key="anything", max_retries=0) as client:
            return await asyncio.gather(*[converse(client, f"word-{number}") for number in range(8)])

    assert asyncio.run(everyone()) == [[f"word-{number}"] * 2 for number in range(8)]
