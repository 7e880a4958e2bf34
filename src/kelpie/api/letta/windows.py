"""Windows on the wire: compacted on request, looked into, and as the request that a model would be sent."""

from datetime import tzinfo
from typing import Any

import msgspec
from msgspec import Struct

from kelpie.agent.compactor import CompactedWindow
from kelpie.agent.moments import zone_of
from kelpie.agent.prompt import Prompt, make_request
from kelpie.agent.state import STATES, RunOptions
from kelpie.agent.thread import Thread, thread_not_found
from kelpie.agent.turn import begin
from kelpie.api.letta.agent_file.rows import show_row
from kelpie.api.letta.agent_requests import CompactionIn, read_compaction
from kelpie.api.letta.house import House
from kelpie.api.letta.message_requests import SendIn, read_messages, read_options
from kelpie.api.letta.threads import read_thread
from kelpie.api.route import Ask, Route
from kelpie.ids import AgentId, new_message_id, new_run_id, new_step_id
from kelpie.llm.messages import TextPart, VerdictPart
from kelpie.llm.retold import retell_request
from kelpie.memory.history import StoredMessage
from kelpie.memory.passages import SHELVES
from kelpie.memory.render import render_block
from kelpie.memory.window import fixed_tokens, message_tokens, text_tokens


class CompactIn(Struct, frozen=True, kw_only=True):
    """How to compact this time; nothing said: as the agent has it. `agent_id` is of the conversation `default`."""

    agent_id: str | None = None
    compaction_settings: CompactionIn | None = None


class CompactedOut(Struct, frozen=True, kw_only=True):
    """What came of it."""

    summary: str
    num_messages_before: int
    num_messages_after: int


class OfConversation(Struct, frozen=True, kw_only=True):
    """Whose window: that of a conversation of the agent, or its own."""

    conversation_id: str | None = None


class ContextOut(Struct, frozen=True, kw_only=True):
    """What the model is shown, part by part, with estimates of their tokens."""

    context_window_size_max: int
    context_window_size_current: int
    num_messages: int
    num_archival_memory: int
    num_recall_memory: int
    num_tokens_external_memory_summary: int
    external_memory_summary: str
    num_tokens_system: int
    system_prompt: str
    num_tokens_core_memory: int
    core_memory: str
    num_tokens_memory_filesystem: int = 0
    memory_filesystem: str | None = None
    num_tokens_tool_usage_rules: int = 0
    tool_usage_rules: str | None = None
    num_tokens_directories: int = 0
    directories: str | None = None
    num_tokens_summary_memory: int
    summary_memory: str | None
    num_tokens_functions_definitions: int
    functions_definitions: list[dict[str, Any]]
    num_tokens_messages: int
    messages: list[dict[str, Any]]


class PreviewIn(SendIn, frozen=True, kw_only=True):
    """A request to a thread that is not made; `agent_id` is of the conversation `default`."""

    agent_id: str | None = None


async def summarize_messages(house: House, ask: Ask[None, CompactIn | None]) -> CompactedOut:
    """Compact the window of an agent's default thread."""
    thread = Thread(agent_id=AgentId(ask.path["agent_id"]))
    await house.roster.get_settings(thread.agent_id)
    return await _compact(house, thread, ask.body)


async def compact_conversation(house: House, ask: Ask[None, CompactIn | None]) -> CompactedOut:
    """Compact the window of a conversation."""
    agent_id = None if ask.body is None else ask.body.agent_id
    return await _compact(house, await read_thread(house, ask.path["conversation_id"], agent_id), ask.body)


async def retrieve_context(house: House, ask: Ask[OfConversation, None]) -> ContextOut:
    """What the model would be shown now."""
    agent_id, named = AgentId(ask.path["agent_id"]), ask.query.conversation_id
    thread = Thread(agent_id=agent_id) if named is None else await read_thread(house, named, agent_id)
    if thread.agent_id != agent_id:
        raise thread_not_found(thread.id)
    window, seq = await _window(house, thread)
    prompt = await _prepare(house, thread, RunOptions(), window)
    view = await house.roster.get(agent_id)
    archive_id = await house.archives.of_agent(agent_id)
    shelf = None if archive_id is None else await house.records.get(SHELVES.at(archive_id))
    kept = {"archival": 0 if shelf is None else shelf.value.passages, "recall": seq}
    return _show_context(prompt, window, "\n\n".join(map(render_block, view.blocks)), **kept)


async def preview_model_request(house: House, ask: Ask[None, SendIn]) -> dict[str, Any]:
    """What the agent's model would be sent for this message."""
    thread = Thread(agent_id=AgentId(ask.path["agent_id"]))
    await house.roster.get_settings(thread.agent_id)
    return await _preview(house, thread, ask.body)


async def preview_conversation_request(house: House, ask: Ask[None, PreviewIn]) -> dict[str, Any]:
    """What the model of a conversation would be sent for this message."""
    thread = await read_thread(house, ask.path["conversation_id"], ask.body.agent_id)
    return await _preview(house, thread, ask.body)


async def _compact(house: House, thread: Thread, body: CompactIn | None) -> CompactedOut:
    given = None if body is None else body.compaction_settings
    done: CompactedWindow = await house.compactor.compact(thread, None if given is None else read_compaction(given))
    return CompactedOut(
        summary=done.summary, num_messages_before=done.messages_before, num_messages_after=done.messages_after
    )


async def _preview(house: House, thread: Thread, body: SendIn) -> dict[str, Any]:
    """The messages are taken as if they were sent, and nothing is kept of them."""
    options = read_options(body, streamed=False, background=False)
    window, seq = await _window(house, thread)
    now_us = house.world.wall.now_us()
    for message in read_messages(body):
        given = {name: getattr(message, name) for name in ("kind", "parts", "otid", "sender_id", "name")}
        message_id = new_message_id(house.world.entropy)
        window.append(StoredMessage(id=message_id, agent_id=thread.agent_id, seq=seq, created_at_us=now_us, **given))
        seq += 1
    prompt = await _prepare(house, thread, options, window)
    request = make_request(prompt, window, new_step_id(house.world.entropy), logprobs=options.logprobs)
    return msgspec.json.decode(retell_request(prompt.info, request, stream=False), type=dict[str, Any])


async def _window(house: House, thread: Thread) -> tuple[list[StoredMessage], int]:
    """The thread's window, and how many messages its history has."""
    found = await house.records.get(STATES.at(thread.id))
    if found is None or found.value.deleting:
        raise thread_not_found(thread.id)
    seqs = [entry.seq for entry in found.value.window]
    return await house.history.get_many(thread.id, seqs), found.value.next_seq


async def _prepare(house: House, thread: Thread, options: RunOptions, window: list[StoredMessage]) -> Prompt:
    """The prompt of a turn that would begin now."""
    entropy = house.world.entropy
    turn = begin(new_run_id(entropy), options, new_step_id(entropy)).turn
    return await house.performer.prepare(thread, turn, options, window)


def _show_context(
    prompt: Prompt, window: list[StoredMessage], core_memory: str, *, archival: int, recall: int
) -> ContextOut:
    summary = next((message for message in window if message.kind == "summary"), None)
    told = None if summary is None else "\n".join(part.text for part in summary.parts if isinstance(part, TextPart))
    outside = f"{recall} messages of this conversation, {archival} passages in the archive."
    said = sum(message_tokens(message) for message in window[1:])
    memory, system = text_tokens(core_memory), text_tokens(prompt.system)
    return ContextOut(
        context_window_size_max=prompt.context_tokens,
        context_window_size_current=prompt.fixed + said,
        num_messages=len(window),
        num_archival_memory=archival,
        num_recall_memory=recall,
        num_tokens_external_memory_summary=text_tokens(outside),
        external_memory_summary=outside,
        num_tokens_system=max(0, system - memory),
        system_prompt=prompt.settings.system,
        num_tokens_core_memory=memory,
        core_memory=core_memory,
        num_tokens_summary_memory=0 if summary is None else message_tokens(summary),
        summary_memory=told,
        num_tokens_functions_definitions=prompt.fixed - fixed_tokens(prompt.shown, ()),
        functions_definitions=[
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": msgspec.json.decode(tool.parameters),
                    "strict": None,
                },
            }
            for tool in prompt.tools
        ],
        num_tokens_messages=said,
        messages=[_show_row(message, zone_of(prompt.settings.timezone)) for message in window],
    )


def _show_row(stored: StoredMessage, zone: tzinfo) -> dict[str, Any]:
    """A message as the retired server kept it."""
    said = tuple(part for part in stored.parts if not isinstance(part, VerdictPart))
    row = show_row(
        msgspec.structs.replace(stored, parts=said), {stored.id: stored.id, stored.agent_id: stored.agent_id}, zone
    )
    del row["type"]
    row["role"] = stored.kind
    row |= dict.fromkeys(("created_by_id", "last_updated_by_id", "updated_at", "is_err"))
    row["approvals"] = row["approvals"] or None
    return row | {"conversation_id": stored.conversation_id, "run_id": stored.run_id, "step_id": stored.step_id}


_AGENT, _CONVERSATION = "/v1/agents/{agent_id}", "/v1/conversations/{conversation_id}"
_MODEL_REFUSALS = (400, 404, 409, 429, 502, 503, 504)
ROUTES = (
    Route(
        method="POST",
        path=f"{_AGENT}/summarize",
        name="summarize_messages",
        summary="Compact the window of an agent",
        tag="agents",
        handler=summarize_messages,
        body=CompactIn | None,
        body_needed=False,
        answer=CompactedOut,
        refusals=_MODEL_REFUSALS,
    ),
    Route(
        method="POST",
        path=f"{_CONVERSATION}/compact",
        name="compact_conversation",
        summary="Compact the window of a conversation",
        tag="conversations",
        handler=compact_conversation,
        body=CompactIn | None,
        body_needed=False,
        answer=CompactedOut,
        refusals=_MODEL_REFUSALS,
    ),
    Route(
        method="GET",
        path=f"{_AGENT}/context",
        name="retrieve_agent_context_window",
        summary="What the model of an agent is shown",
        tag="agents",
        handler=retrieve_context,
        query=OfConversation,
        answer=ContextOut,
        refusals=(404,),
        deprecated=True,
    ),
    Route(
        method="POST",
        path=f"{_AGENT}/messages/preview-raw-payload",
        name="preview_model_request",
        summary="The request that an agent's model would be sent",
        tag="messages",
        handler=preview_model_request,
        body=SendIn,
        answer=dict[str, Any],
        refusals=(400, 404),
    ),
    Route(
        method="POST",
        path=f"{_CONVERSATION}/messages/preview-raw-payload",
        name="preview_conversation_model_request",
        summary="The request that a conversation's model would be sent",
        tag="conversations",
        handler=preview_conversation_request,
        body=PreviewIn,
        answer=dict[str, Any],
        refusals=(400, 404),
    ),
)
