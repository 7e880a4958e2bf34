"""An agent as a model of OpenAI's wire, by the official `openai` client."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from letta_client import Letta
from openai import OpenAI

from tests.system.server import KelpieServer
from tests.system.talk import insert_into, mark, reply_with
from tests.wire.conftest import MakeAgent
from tests.wire.seen import CLIENT, Seen

UNKNOWN = "agent-00000000-0000-4000-8000-000000000000"


@pytest.fixture
def chat(server: KelpieServer, seen: Seen) -> Iterator[OpenAI]:
    """The official client, pointed at the server; what it is answered is noted."""

    def note(response) -> None:
        kind = response.headers.get("content-type", "")
        body = None if kind.startswith("text/event-stream") else response.read()
        seen.answer(response.request.method, response.request.url.path, response.status_code, kind, body, CLIENT)

    watched = openai.DefaultHttpxClient(event_hooks={"response": [note]})
    with OpenAI(base_url=f"{server.url}/v1", api_key="anything", max_retries=0, http_client=watched) as client:
        yield client


def test_an_agent_answers_as_a_model(chat: OpenAI, make_agent: MakeAgent, model: str) -> None:
    """Whole answers, with a memory tool on the way, on each kind of model."""
    agent = make_agent(model)
    word = mark("w")
    told = {"role": "user", "content": [{"type": "text", "text": reply_with(word)}]}
    answer = chat.chat.completions.create(model=agent.id, messages=[{"role": "system", "content": "x"}, told])  # type: ignore[list-item]
    (choice,) = answer.choices
    assert (choice.message.content, choice.message.role, choice.finish_reason) == (word, "assistant", "stop")
    assert answer.model == agent.id and answer.object == "chat.completion" and answer.id.startswith("run-")
    assert answer.usage is not None and answer.usage.total_tokens > 0
    answer = chat.chat.completions.create(
        model=agent.id, messages=[{"role": "user", "content": insert_into("human", word)}]
    )
    assert answer.choices[0].message.content


def test_a_streamed_answer_comes_in_pieces(chat: OpenAI, make_agent: MakeAgent, model: str) -> None:
    """First the role, then words, then how it ended, then what it cost."""
    agent = make_agent(model)
    words = f"{mark('one')} two three"
    stream = chat.chat.completions.create(
        model=agent.id,
        messages=[{"role": "user", "content": reply_with(words)}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == words and len([text for text in texts if text]) > 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage is not None and chunks[-1].usage.total_tokens > 0


def test_the_agent_is_told_only_what_it_has_not_heard(chat: OpenAI, client: Letta, make_agent: MakeAgent) -> None:
    """Goal: a program that sends the whole talk each time does not say it all again."""
    agent = make_agent()
    first, second = mark("first"), mark("second")
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": reply_with(first)}]
    said = chat.chat.completions.create(model=agent.id, messages=talk).choices[0].message.content  # type: ignore[arg-type]
    talk += [{"role": "assistant", "content": str(said)}, {"role": "user", "content": reply_with(second)}]
    chat.chat.completions.create(model=agent.id, messages=talk)  # type: ignore[arg-type]
    history = client.agents.messages.list(agent.id, order="asc").items
    kept = [one.content for one in history if one.message_type == "user_message"]
    assert kept == [reply_with(first), reply_with(second)]


@pytest.mark.parametrize(
    ("status", "words", "fields"),
    [
        (400, "must be the id of an agent", {"model": "gpt-4o"}),
        (404, UNKNOWN, {"model": UNKNOWN}),
        (400, "must be the user's", {"messages": [{"role": "assistant", "content": "x"}]}),
        (400, "one answer", {"n": 2}),
    ],
)
def test_what_cannot_be_answered_is_refused(
    chat: OpenAI, make_agent: MakeAgent, status: int, words: str, fields: dict[str, Any]
) -> None:
    """No agent, an unknown one, nothing said by the user, several answers."""
    body = {"model": make_agent().id, "messages": [{"role": "user", "content": "x"}], **fields}
    with pytest.raises(openai.APIStatusError) as caught:
        chat.chat.completions.create(**body)
    assert caught.value.status_code == status and words in caught.value.response.json()["detail"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_failing_model_is_an_error_in_both_forms(chat: OpenAI, make_agent: MakeAgent, streamed: bool) -> None:
    """As a status, or as an event of the stream that the client raises."""
    agent = make_agent("openai/fault-400")
    with pytest.raises(openai.APIError, match="400"):
        answer = chat.chat.completions.create(
            model=agent.id, messages=[{"role": "user", "content": "x"}], stream=streamed
        )
        list(answer)
