"""An agent as if it were a model of OpenAI's: `model` is the agent's id, whole or streamed.

Programs of that wire send the whole talk with every request; an agent remembers it. So what it is told is what it has
not heard: the user's messages behind the last one of anybody else. Its own system prompt, memory and settings stand;
sampling fields are taken and change nothing. Tools are the agent's own, run here, and not shown.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

from msgspec import Struct

from kelpie.agent.events import FinishedEvent
from kelpie.agent.state import RunOptions
from kelpie.api.errors import Malformed, RunFailed, sentence_of
from kelpie.api.letta.house import House
from kelpie.api.letta.message_requests import ContentIn, MessageIn, SendIn, read_key, read_messages
from kelpie.api.letta.message_shapes import AssistantMessage, WireMessage
from kelpie.api.letta.run_shapes import CompletionDetails
from kelpie.api.letta.stream_view import RunView, StreamOptions
from kelpie.api.route import Ask, Route
from kelpie.api.sse import DONE, EventStream, frame
from kelpie.errors import InvalidInput, KelpieError
from kelpie.ids import AgentId, RunId, parse_id

_FINISHES = {"max_tokens_exceeded": "length"}


class ChatMessageIn(Struct, frozen=True, kw_only=True):
    """A message of the talk."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | list[ContentIn] | None = None
    name: str | None = None


class StreamOptionsIn(Struct, frozen=True, kw_only=True):
    """What a stream is to have beside its pieces."""

    include_usage: bool = False


class ChatIn(Struct, frozen=True, kw_only=True):
    """A request of OpenAI's wire."""

    model: str
    messages: list[ChatMessageIn]
    stream: bool | None = False
    stream_options: StreamOptionsIn | None = None
    n: int | None = 1
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    user: str | None = None


class PromptDetailsOut(Struct, frozen=True, kw_only=True):
    """Of what the prompt's tokens were."""

    cached_tokens: int


class ChatUsageOut(Struct, frozen=True, kw_only=True):
    """What it cost, all steps together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetailsOut
    completion_tokens_details: CompletionDetails


class ChatMessageOut(Struct, frozen=True, kw_only=True):
    """What the agent said."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None


class ChoiceOut(Struct, frozen=True, kw_only=True):
    """The one answer."""

    index: int = 0
    message: ChatMessageOut
    finish_reason: str
    logprobs: dict[str, Any] | None = None


class ChatOut(Struct, frozen=True, kw_only=True):
    """The whole answer. Its id is that of the run."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChoiceOut]
    usage: ChatUsageOut


class DeltaOut(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A further piece."""

    role: str | None = None
    content: str | None = None


class ChunkChoiceOut(Struct, frozen=True, kw_only=True):
    """A further piece of the one answer."""

    index: int = 0
    delta: DeltaOut
    finish_reason: str | None = None


class ChunkOut(Struct, frozen=True, kw_only=True):
    """One event of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoiceOut]
    usage: ChatUsageOut | None = None


class ErrorOut(Struct, frozen=True, kw_only=True):
    """What went wrong after the stream had begun, as clients of this wire expect it."""

    error: dict[str, str]


async def create_chat_completion(house: House, ask: Ask[None, ChatIn]) -> ChatOut | EventStream:
    """Tell the agent what it has not heard, and answer with what it says."""
    body = ask.body
    agent_id = AgentId(_agent_of(body))
    await house.roster.get_settings(agent_id)
    messages = read_messages(SendIn(messages=unheard(body)))
    options = RunOptions(stream_tokens=bool(body.stream))
    run_id = await house.door.send(agent_id, messages, options, key=read_key(ask.headers, messages))
    created = house.world.wall.now_ms() // 1000
    if body.stream:
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        return EventStream(_chunks(house, run_id, body.model, created, with_usage))
    said, finished = await house.door.finish(run_id)
    if finished.error is not None:
        raise RunFailed(finished.error, run_id)
    view = RunView(run_id, StreamOptions())
    texts = [text_of(shown) for event in said for shown in view.show(event)]
    return ChatOut(
        id=run_id,
        created=created,
        model=body.model,
        choices=[ChoiceOut(message=ChatMessageOut(content="".join(texts)), finish_reason=_finish(finished))],
        usage=_usage(finished),
    )


def unheard(body: ChatIn) -> list[MessageIn]:
    """The user's messages behind the last one of the assistant or of a tool. Raises InvalidInput: there is none."""
    last = max(
        (at for at, one in enumerate(body.messages) if one.role in ("assistant", "tool", "function")), default=-1
    )
    said = [one for one in body.messages[last + 1 :] if one.role == "user"]
    if not said:
        raise InvalidInput("the last message must be the user's: an agent answers what it is told", field="messages")
    return [MessageIn(role="user", content=one.content, name=one.name) for one in said]


def text_of(shown: WireMessage) -> str:
    """What the agent says in it; nothing of what it thinks and does."""
    if not isinstance(shown, AssistantMessage):
        return ""
    content = shown.content
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _agent_of(body: ChatIn) -> str:
    if body.n not in (None, 1):
        raise InvalidInput("n: an agent gives one answer", field="n")
    if not body.messages:
        raise Malformed("List should have at least 1 item", place=("body", "messages"), kind="too_short")
    try:
        return parse_id("agent", body.model)
    except InvalidInput:
        raise InvalidInput(
            f"model must be the id of an agent, agent-<uuid4>, not '{body.model[:80]}'", field="model"
        ) from None


async def _chunks(
    house: House, run_id: RunId, model: str, created: int, with_usage: bool
) -> AsyncGenerator[bytes, None]:
    """The run as chunks, as it goes."""

    def chunk(delta: DeltaOut, finish: str | None = None) -> bytes:
        choice = ChunkChoiceOut(delta=delta, finish_reason=finish)
        return frame(ChunkOut(id=run_id, created=created, model=model, choices=[choice]))

    view = RunView(run_id, StreamOptions())
    yield chunk(DeltaOut(role="assistant", content=""))
    try:
        async with aclosing(house.door.follow(run_id, after=0, deltas=True)) as events:
            async for event in events:
                if not isinstance(event, FinishedEvent):
                    for text in map(text_of, view.show(event)):
                        if text:
                            yield chunk(DeltaOut(content=text))
                    continue
                if event.error is not None:
                    yield _error(event.error.code, event.error.sentence)
                    break
                yield chunk(DeltaOut(), _finish(event))
                if with_usage:
                    yield frame(ChunkOut(id=run_id, created=created, model=model, choices=[], usage=_usage(event)))
                break
    except KelpieError as error:
        yield _error(error.code, sentence_of(error))
    yield DONE


def _error(code: str, sentence: str) -> bytes:
    return frame(ErrorOut(error={"message": sentence, "type": "server_error", "code": code}))


def _finish(finished: FinishedEvent) -> str:
    return _FINISHES.get(finished.stop_reason, "stop")


def _usage(finished: FinishedEvent) -> ChatUsageOut:
    usage = finished.usage
    return ChatUsageOut(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=PromptDetailsOut(cached_tokens=usage.cached_tokens),
        completion_tokens_details=CompletionDetails(reasoning_tokens=usage.reasoning_tokens),
    )


ROUTES = (
    Route(
        method="POST",
        path="/v1/chat/completions",
        name="create_chat_completion",
        summary="Talk to an agent in the words of OpenAI's chat completions; `model` is the agent's id",
        tag="chat",
        handler=create_chat_completion,
        body=ChatIn,
        answer=ChatOut,
        streams="maybe",
        begins_turn=True,
        refusals=(400, 404, 429, 502, 503, 504),
    ),
)
