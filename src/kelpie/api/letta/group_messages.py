"""What is said to groups: a talk is begun, waited for or streamed, listed, forgotten."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import Struct

from kelpie.agent.group_talk import Talk, TalkTurn
from kelpie.agent.state import RunOptions
from kelpie.api.errors import MethodNotAllowed, RunFailed
from kelpie.api.letta.house import House
from kelpie.api.letta.message_requests import SendIn, read_key, read_messages, read_options, read_speech
from kelpie.api.letta.message_shapes import (
    MESSAGE_SHAPES,
    ErrorMessage,
    MessageType,
    ShownMessage,
    StopReasonOut,
    UsageOut,
    WireMessage,
    show_messages,
)
from kelpie.api.letta.messages import NO_EDITING, ReplyOut, StreamWanted
from kelpie.api.letta.paging import Order, PageLimit, read_cursor
from kelpie.api.letta.stream_view import with_events
from kelpie.api.route import Ask, Route
from kelpie.api.sse import DONE, EventStream, frame
from kelpie.errors import InvalidInput, KelpieError, NotFound
from kelpie.llm.messages import Usage
from kelpie.memory.history import StoredMessage

MESSAGES_LIMIT_DEFAULT = 10
OF_ONE_AGENT = ("override_model", "override_system", "client_tools", "client_skills", "return_logprobs")


class ListMessages(Struct, frozen=True, kw_only=True):
    """Which page of what was said in the group."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = MESSAGES_LIMIT_DEFAULT
    order: Order = "desc"
    order_by: str | None = None
    use_assistant_message: bool = True
    assistant_message_tool_name: str = "send_message"
    assistant_message_tool_kwarg: str = "message"
    include_return_message_types: list[MessageType] | None = None


async def list_messages(house: House, ask: Ask[ListMessages, None]) -> list[WireMessage]:
    """What was said in the group's newest talks, a page of stored messages."""
    group_id, query = ask.path["group_id"], ask.query
    await house.groups.all.get(group_id)
    stored: list[StoredMessage] = []
    for _, turns in await house.group_door.talks(group_id):
        stored += (await _said(house, turns))[::-1]
    if query.order == "asc":
        stored.reverse()
    ids: list[str] = [message.id for message in stored]
    first, last = read_cursor("message", query.after, "after"), read_cursor("message", query.before, "before")
    start = ids.index(first) + 1 if first in ids else 0
    end = ids.index(last) if last in ids else len(ids)
    page = stored[start:end][: query.limit or MESSAGES_LIMIT_DEFAULT]
    shown = show_messages(page if query.order == "asc" else page[::-1])
    wanted = query.include_return_message_types
    shown = [one for one in shown if wanted is None or one.message_type in wanted]
    return shown if query.order == "asc" else shown[::-1]


async def send_message(house: House, ask: Ask[None, SendIn]) -> ReplyOut:
    """Say something to the group, and wait until its talk is over."""
    options = _read_options(ask.body)
    number = await _speak(house, ask, options)
    messages: list[WireMessage] = []
    usage = Usage()
    steps = 0
    async with aclosing(house.group_door.follow(ask.path["group_id"], number)) as told:
        async for each in told:
            if isinstance(each, Talk):
                if each.error is not None:
                    raise RunFailed(each.error, each.id)
                break
            said, run_usage, run_steps = await _turn_said(house, each)
            messages += _show(said, ask.body, options)
            usage, steps = usage.plus(run_usage), steps + run_steps
    return ReplyOut(messages=messages, stop_reason=StopReasonOut(stop_reason="end_turn"), usage=_usage(usage, steps))


async def stream_message(house: House, ask: Ask[None, SendIn]) -> EventStream:
    """Say something to the group, and have what is said streamed, turn by turn."""
    options = _read_options(ask.body)
    number = await _speak(house, ask, options)
    return EventStream(_frames(house, ask, options, number))


async def modify_message(house: House, ask: Ask[None, None]) -> None:
    """Always refused: what was said stays said."""
    raise MethodNotAllowed(NO_EDITING, allow="")


async def reset_messages(house: House, ask: Ask[None, None]) -> None:
    """The group's talks are forgotten; the agents' own histories stay."""
    group_id = ask.path["group_id"]
    await house.groups.all.get(group_id)
    await house.group_door.forget(group_id)


def _read_options(wire: SendIn) -> RunOptions:
    """How the talk's runs are to be made. Raises InvalidInput for what can be asked of one agent, not of a group."""
    options = read_options(wire, streamed=False, background=False)
    for field in OF_ONE_AGENT:
        if getattr(wire, field):
            sentence = f"{field} is not supported for a group: each of its agents answers as it is set up"
            raise InvalidInput(sentence, field=field)
    return options


def _show(said: list[StoredMessage], wire: SendIn, options: RunOptions) -> list[WireMessage]:
    """What was said, as the sender wants it shown."""
    wanted = StreamWanted(wire)
    return [one for one in with_events(show_messages(said, read_speech(options))) if wanted.includes(one)]


async def _speak(house: House, ask: Ask[None, SendIn], options: RunOptions) -> int:
    """The talk that this request begins, or began before. Raises NotFound, Busy."""
    group_id = ask.path["group_id"]
    await house.groups.all.get(group_id)
    messages = read_messages(ask.body)
    key = read_key(ask.headers, messages)
    return await house.group_door.speak(group_id, messages, steps_max=options.steps_max, key=key)


async def _turn_said(house: House, turn: TalkTurn) -> tuple[list[StoredMessage], Usage, int]:
    """What the agent said in its turn, and what that cost; of a manager's choice only the cost."""
    said, finished = await house.door.finish(turn.run_id)
    messages = [] if turn.choice else [event.message for event in said]
    return messages, finished.usage, finished.steps


async def _said(house: House, turns: list[TalkTurn]) -> list[StoredMessage]:
    """What was said in a talk, oldest first: the question once, and the turns; of agents that are gone nothing."""
    found: list[StoredMessage] = []
    for turn in turns:
        if turn.choice:
            continue
        try:
            run = await house.door.get_run(turn.run_id)
        except NotFound:
            continue
        messages = await house.past.messages(run)
        found += messages if not found else [one for one in messages if one.kind != "user"]
    return found


async def _frames(
    house: House, ask: Ask[None, SendIn], options: RunOptions, number: int
) -> AsyncGenerator[bytes, None]:
    group_id = ask.path["group_id"]
    usage, steps, reason = Usage(), 0, "end_turn"
    try:
        async with aclosing(house.group_door.follow(group_id, number)) as told:
            async for each in told:
                if isinstance(each, Talk):
                    if each.error is not None:
                        yield frame(_error(group_id, each.error.code, each.error.sentence))
                        reason = "error"
                    break
                said, run_usage, run_steps = await _turn_said(house, each)
                usage, steps = usage.plus(run_usage), steps + run_steps
                for shown in _show(said, ask.body, options):
                    yield frame(shown)
    except KelpieError as error:
        yield frame(_error(group_id, error.code, error.sentence))
        reason = "error"
    yield frame(StopReasonOut(stop_reason=reason))
    yield frame(_usage(usage, steps))
    yield DONE


def _error(group_id: str, code: str, sentence: str) -> ErrorMessage:
    return ErrorMessage(run_id=group_id, error_type=code, message=sentence, detail=sentence)


def _usage(usage: Usage, steps: int) -> UsageOut:
    return UsageOut(
        completion_tokens=usage.output_tokens,
        prompt_tokens=usage.input_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        step_count=steps,
        cached_input_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_written_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        context_tokens=None,
    )


ROUTES = (
    Route(
        method="GET",
        path="/v1/groups/{group_id}/messages",
        name="list_group_messages",
        summary="List what was said in a group",
        tag="groups",
        handler=list_messages,
        query=ListMessages,
        shapes=MESSAGE_SHAPES,
        refusals=(404,),
        answer=list[ShownMessage],
        deprecated=True,
    ),
    Route(
        method="POST",
        path="/v1/groups/{group_id}/messages",
        name="send_group_message",
        summary="Say something to a group; wait until its talk is over",
        tag="groups",
        handler=send_message,
        body=SendIn,
        shapes=MESSAGE_SHAPES,
        begins_turn=True,
        refusals=(400, 404, 409, 429, 502, 503, 504),
        answer=ReplyOut,
        deprecated=True,
    ),
    Route(
        method="POST",
        path="/v1/groups/{group_id}/messages/stream",
        name="send_group_message_streaming",
        summary="Say something to a group; stream its talk",
        tag="groups",
        handler=stream_message,
        body=SendIn,
        streams="always",
        begins_turn=True,
        refusals=(400, 404, 409, 429, 503),
        answer=None,
        deprecated=True,
    ),
    Route(
        method="PATCH",
        path="/v1/groups/{group_id}/messages/{message_id}",
        name="modify_group_message",
        summary="Refused: messages are immutable",
        tag="groups",
        handler=modify_message,
        refusals=(405,),
        answer=None,
        deprecated=True,
    ),
    Route(
        method="PATCH",
        path="/v1/groups/{group_id}/reset-messages",
        name="reset_group_messages",
        summary="Forget what was said in a group",
        tag="groups",
        handler=reset_messages,
        refusals=(404, 429),
        answer=None,
        deprecated=True,
    ),
)
