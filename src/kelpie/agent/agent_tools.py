"""Agents that talk to each other: tools whose effect is a message, accepted by the other agent as any client's is.

The key of such a message is the call that sends it (run, step, call), so a call that is made again after a crash finds
the run that it began and waits for the same answer. Until when the answer is wanted travels with each run: who is
asked on behalf of somebody else has less time than that one has. A chain of messages has an end, waited for or not:
agents that only ever answer each other stop after CALL_CHAIN_MAX.

An agent that asks one that waits for it, over however many others, is refused at once, since neither could ever answer.
Who waits for whom is read from the turns: their open calls are committed before they are made, so of those that would
close a circle the last one sees all the others.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct

from kelpie.agent.door import AgentDoor
from kelpie.agent.groups import GROUPS, MANAGED
from kelpie.agent.listing import AgentFilter, Listing
from kelpie.agent.state import STATES, InputMessage, RunOptions
from kelpie.errors import CallCycle, CallTimedOut, InvalidInput, KelpieError, LimitExceeded, NotFound
from kelpie.ids import AgentId, RunId, ThreadId, parse_id
from kelpie.limits import (
    AGENT_REPLY_MARGIN_MS,
    AGENT_REPLY_MS_MAX,
    AGENTS_ADDRESSED_MAX,
    CALL_CHAIN_MAX,
    WAITS_FOLLOWED_MAX,
)
from kelpie.llm.messages import TextPart, ToolCallPart
from kelpie.memory.history import StoredMessage
from kelpie.storage.collection import Links
from kelpie.storage.paging import Page
from kelpie.storage.records import Records
from kelpie.tools.function import ServedBox, serve_function
from kelpie.tools.tool import Toolbox, ToolOutcome, ToolRequest

ASK, ASK_TAGGED = "send_message_to_agent_and_wait_for_reply", "send_message_to_agents_matching_tags"
ASK_GROUP = "send_message_to_all_agents_in_group"
SPEAKING_TOOL = "send_message"  # of agents of the older kinds, which speak by calling it


class Phone(Struct, frozen=True, kw_only=True):
    """One call of one of the tools, and what it reaches others with."""

    door: AgentDoor
    listing: Listing
    records: Records
    request: ToolRequest


class _Caller(Struct, frozen=True, kw_only=True):
    """Who sends, as its name and as part of a chain."""

    name: str
    options: RunOptions
    thread_id: ThreadId


async def send_message_to_agent_and_wait_for_reply(phone: Phone, /, message: str, other_agent_id: str) -> ToolOutcome:
    """Send a message to another agent, and wait for what it answers.

    Use this when you cannot go on without the answer. The other agent sees who asks it.

    Args:
    message: What to say. Say all that the other agent needs to know; it does not see your conversation.
    other_agent_id: Id of the agent to ask, of the form agent-<uuid>.
    """
    target, caller = _agent_id(other_agent_id), await _caller(phone)
    return await _ask(phone, caller, target, message)


async def send_message_to_agent_async(phone: Phone, /, message: str, other_agent_id: str) -> ToolOutcome:
    """Send a message to another agent without waiting for an answer.

    If it answers, it will do so in a message of its own.

    Args:
    message: What to say. Say all that the other agent needs to know; it does not see your conversation.
    other_agent_id: Id of the agent to tell, of the form agent-<uuid>.
    """
    target, caller = _agent_id(other_agent_id), await _caller(phone)
    _check_hops(caller)
    words = (
        f"[From the agent '{caller.name}' ({phone.request.agent_id}), who does not wait for an answer. To answer, send"
        f" it a message.]\n{message}"
    )
    options = RunOptions(background=True, hops=caller.options.hops + 1)
    await phone.door.send(target, (_said(phone, words),), options, key=_key(phone, target))
    return ToolOutcome(text=f"The message was accepted by {target}.")


async def send_message_to_agents_matching_tags(
    phone: Phone, /, message: str, match_all: list[str], match_some: list[str]
) -> ToolOutcome:
    """Send a message to all other agents that have certain tags, and wait for what they answer.

    Args:
    message: What to say. Say all that the other agents need to know; they do not see your conversation.
    match_all: Tags that an agent must have, each of them; may be empty.
    match_some: Tags of which an agent must have at least one; may be empty.
    """
    if not match_all and not match_some:
        raise InvalidInput("name at least one tag in match_all or match_some")
    targets = await _tagged(phone, phone.request.agent_id, match_all, match_some)
    return await _ask_all(phone, await _caller(phone), targets, message)


async def send_message_to_all_agents_in_group(phone: Phone, /, message: str) -> ToolOutcome:
    """Send a message to all agents of the group that you lead, and wait for what they answer.

    Args:
    message: What to say. Say all that they need to know; they do not see your conversation.
    """
    targets = await _led(phone, phone.request.agent_id)
    return await _ask_all(phone, await _caller(phone), targets, message)


def agent_tools(door: AgentDoor, listing: Listing, records: Records) -> Toolbox:
    """The box of these tools."""
    served = [
        serve_function(
            function, Phone, kind="multi_agent", title=title, idempotent=True, deadline_ms=AGENT_REPLY_MS_MAX
        )
        for function, title in (
            (send_message_to_agent_and_wait_for_reply, "Ask another agent"),
            (send_message_to_agent_async, "Tell another agent"),
            (send_message_to_agents_matching_tags, "Ask agents by their tags"),
            (send_message_to_all_agents_in_group, "Ask the agents of one's group"),
        )
    ]
    return ServedBox(served, lambda request: Phone(door=door, listing=listing, records=records, request=request))


def reply_text(said: list[StoredMessage]) -> str:
    """What an agent said in these messages: its texts, and what it passed to the tool that older kinds speak with."""
    texts: list[str] = []
    for message in said:
        if message.kind != "assistant":
            continue
        for part in message.parts:
            if isinstance(part, TextPart) and part.text.strip():
                texts.append(part.text)
            elif isinstance(part, ToolCallPart) and part.name == SPEAKING_TOOL:
                texts.append(_spoken(part.arguments))
    return "\n".join(text for text in texts if text)


async def _ask_all(phone: Phone, caller: _Caller, targets: list[AgentId], message: str) -> ToolOutcome:
    """Each of them at the same time; what each answered, or why it did not."""
    if not targets:
        return ToolOutcome(text="There is no other agent to whom it could be sent, so nothing was.", ok=False)
    if len(targets) > AGENTS_ADDRESSED_MAX:
        raise _too_many()

    async def ask(target: AgentId) -> str:
        try:
            outcome = await _ask(phone, caller, target, message)
        except KelpieError as error:
            return f"{target} could not answer: {error.sentence}"
        return f"{target} answered: {outcome.text}" if outcome.ok else f"{target} did not answer: {outcome.text}"

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(target), name=f"ask {target}") for target in targets]
    return ToolOutcome(text="\n\n".join(task.result() for task in asked))


async def _ask(phone: Phone, caller: _Caller, target: AgentId, message: str) -> ToolOutcome:
    """Send, and wait for the run's end for as long as there is time. Raises as `AgentDoor.send` does, and CallCycle."""
    _check_hops(caller)
    await _check_free(phone, caller, target)
    now_ms = await phone.records.store.now_ms()
    ends_ms = now_ms + AGENT_REPLY_MS_MAX
    if caller.options.answer_by_ms is not None:
        ends_ms = min(ends_ms, caller.options.answer_by_ms)
    wait_ms = ends_ms - now_ms - AGENT_REPLY_MARGIN_MS
    assert wait_ms < AGENT_REPLY_MS_MAX
    assert target != caller.thread_id, "it waits for itself"
    if wait_ms <= 0:
        raise CallTimedOut("no time is left to ask another agent: whoever asked you waits no longer")
    options = RunOptions(
        background=True,
        hops=caller.options.hops + 1,
        answer_by_ms=now_ms + wait_ms,
    )
    words = (
        f"[From the agent '{caller.name}' ({phone.request.agent_id}), who waits for your answer. What you say at the"
        f" end of your turn is sent back.]\n{message}"
    )
    run_id = await phone.door.send(target, (_said(phone, words),), options, key=_key(phone, target))
    return await _answer(phone, target, run_id, wait_ms)


async def _answer(phone: Phone, target: AgentId, run_id: RunId, wait_ms: int) -> ToolOutcome:
    try:
        async with asyncio.timeout(wait_ms / 1000):
            said, finished = await phone.door.finish(run_id)
    except TimeoutError:
        text = f"{target} has the message but did not answer within {wait_ms // 1000} s. It goes on with it."
        return ToolOutcome(text=text, ok=False)
    if finished.error is not None:
        return ToolOutcome(text=f"{target} failed to answer: {finished.error.sentence}", ok=False)
    text = reply_text([event.message for event in said])
    assert finished.number >= 1
    if not text:
        return ToolOutcome(text=f"{target} ended its turn without a word ({finished.stop_reason}).", ok=False)
    return ToolOutcome(text=text)


async def _caller(phone: Phone) -> _Caller:
    run = await phone.door.get_run(phone.request.run_id)
    views = await phone.listing.some([phone.request.agent_id], with_blocks=False)
    if not views:
        raise NotFound(f"Agent with id '{phone.request.agent_id}' not found")
    return _Caller(name=views[0].settings.name, options=run.options, thread_id=run.thread_id)


def _check_hops(caller: _Caller) -> None:
    if caller.options.hops + 1 >= CALL_CHAIN_MAX:
        raise LimitExceeded(
            f"this message would be the {CALL_CHAIN_MAX}th that agents send each other without a person in between",
            limit="CALL_CHAIN_MAX",
            maximum=CALL_CHAIN_MAX,
        )


async def _check_free(phone: Phone, caller: _Caller, target: AgentId) -> None:
    """CallCycle if the target waits for the caller, over however many others; also for the caller itself."""
    seen: dict[ThreadId, None] = {ThreadId(target): None}
    left = [ThreadId(target)]
    assert caller.thread_id
    while left:
        assert len(left) <= len(seen)
        thread_id = left.pop()
        if thread_id == caller.thread_id:
            raise CallCycle(f"'{target}' waits for an answer to which you contribute, so it cannot answer you now")
        for each in await _waited_for(phone, thread_id):
            if each not in seen:
                seen[each] = None
                left.append(each)
        if len(seen) > WAITS_FOLLOWED_MAX:
            raise LimitExceeded(
                f"more than {WAITS_FOLLOWED_MAX} agents wait for each other; ask again later",
                limit="WAITS_FOLLOWED_MAX",
                maximum=WAITS_FOLLOWED_MAX,
            )


async def _waited_for(phone: Phone, thread_id: ThreadId) -> list[ThreadId]:
    """The threads that the turn of this one waits for."""
    found = await phone.records.get(STATES.at(thread_id))
    if found is None or found.value.turn is None:
        return []
    assert found.value.id == thread_id
    waited: list[AgentId] = []
    for pending in found.value.turn.calls:
        if pending.result is not None:
            continue
        asked = _asked(pending.call)
        if pending.call.name == ASK:
            waited.append(AgentId(asked.other_agent_id))
        elif pending.call.name == ASK_TAGGED and (asked.match_all or asked.match_some):
            agent_id = found.value.thread.agent_id
            with suppress(LimitExceeded):  # then it is refused, and does not wait
                waited += await _tagged(phone, agent_id, asked.match_all, asked.match_some)
        elif pending.call.name == ASK_GROUP:
            waited += await _led(phone, found.value.thread.agent_id)
    assert len(waited) <= len(found.value.turn.calls) * AGENTS_ADDRESSED_MAX
    return [ThreadId(each) for each in waited]


async def _led(phone: Phone, agent_id: AgentId) -> list[AgentId]:
    """The agents of the groups that this one leads."""
    led = await phone.records.get_all(
        [GROUPS.at(group_id) for group_id in await Links(phone.records, MANAGED).rights_of(agent_id)]
    )
    members = [one for group in led if group is not None for one in group.value.agent_ids]
    return [one for one in dict.fromkeys(members) if one != agent_id]


async def _tagged(
    phone: Phone, agent_id: AgentId, match_all: Sequence[str], match_some: Sequence[str]
) -> list[AgentId]:
    """The other agents with these tags, the oldest first. Raises LimitExceeded when there are too many to ask."""
    wanted = AgentFilter(tags=tuple(match_all or match_some), all_tags=bool(match_all))
    page = Page(limit=AGENTS_ADDRESSED_MAX + 2, newest_first=False)
    views = await phone.listing.agents(wanted, page, with_blocks=False)
    if len(views) == page.limit:
        raise _too_many()
    some = frozenset(match_some)
    return [
        view.settings.id
        for view in views
        if view.settings.id != agent_id and (not some or not some.isdisjoint(view.settings.tags))
    ]


def _too_many() -> LimitExceeded:
    return LimitExceeded(
        f"more than {AGENTS_ADDRESSED_MAX} agents have these tags; nothing was sent. Name more tags.",
        limit="AGENTS_ADDRESSED_MAX",
        maximum=AGENTS_ADDRESSED_MAX,
    )


def _said(phone: Phone, words: str) -> InputMessage:
    return InputMessage(kind="user", parts=(TextPart(text=words),), sender_id=phone.request.agent_id)


def _key(phone: Phone, target: AgentId) -> str:
    request = phone.request
    return f"call:{request.run_id}:{request.step_id}:{request.call_id}:{target}"


def _agent_id(text: str) -> AgentId:
    return AgentId(parse_id("agent", text.strip()))


def _spoken(arguments: str) -> str:
    try:
        return msgspec.json.decode(arguments, type=_Speech, strict=False).message
    except msgspec.MsgspecError:
        return ""


def _asked(call: ToolCallPart) -> "_Asked":
    """The arguments of a call as far as they can be read; what cannot be read is refused, and waits for nobody."""
    try:
        return msgspec.json.decode(call.arguments, type=_Asked)
    except msgspec.MsgspecError:
        return _Asked()


class _Speech(Struct):
    message: str = ""


class _Asked(Struct):
    other_agent_id: str = ""
    match_all: list[str] = []
    match_some: list[str] = []
