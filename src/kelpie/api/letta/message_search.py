"""Search over messages on the wire: of one agent or of all, by meaning and by words.

How far back a search looked is bounded; where older messages were left out, a header of the answer says so.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from kelpie.agent.moments import UTC
from kelpie.api.letta.agent_file.rows import show_row
from kelpie.api.letta.house import House
from kelpie.api.letta.passage_shapes import read_date
from kelpie.api.letta.threads import DEFAULT, read_thread
from kelpie.api.letta.values import seconds_date
from kelpie.api.route import Ask, Noted, Route, one_of
from kelpie.errors import InvalidInput
from kelpie.ids import AgentId
from kelpie.llm.messages import TextPart
from kelpie.memory.history import MessageKind
from kelpie.memory.recall import Recalled, RecallQuery, Recollection
from kelpie.memory.search_index import SearchMode

LIMIT_DEFAULT = 50
SAID: tuple[MessageKind, ...] = ("user", "assistant")
ANY: tuple[MessageKind, ...] = ("user", "assistant", "tool")  # where no role is named: not the system prompts
MessageRole = Literal["assistant", "user", "tool", "function", "system", "approval", "summary"]
KINDS: Mapping[str, MessageKind] = {
    "assistant": "assistant",
    "user": "user",
    "tool": "tool",
    "function": "tool",
    "system": "system",
    "approval": "assistant",
    "summary": "summary",
}
Limit = Annotated[int, Meta(ge=1, le=100)]


class SearchAllMessagesIn(Struct, frozen=True, kw_only=True):
    """What to look for, and where."""

    query: str
    search_mode: SearchMode = "hybrid"
    agent_id: str | None = None
    conversation_id: str | None = None
    limit: Limit = LIMIT_DEFAULT
    start_date: str | None = None
    end_date: str | None = None


class SearchMessagesIn(Struct, frozen=True, kw_only=True):
    """The same, with roles; projects and templates are those of a hosted service."""

    query: str | None = None
    search_mode: SearchMode = "hybrid"
    roles: list[MessageRole] | None = None
    agent_id: str | None = None
    project_id: str | None = None
    template_id: str | None = None
    conversation_id: str | None = None
    limit: Limit = LIMIT_DEFAULT
    start_date: str | None = None
    end_date: str | None = None


class FoundOut(Struct, frozen=True, kw_only=True):
    """What all messages that were found have."""

    message_id: str
    agent_id: str | None
    conversation_id: str | None
    created_at: str


class UserFoundOut(FoundOut, frozen=True, kw_only=True):
    """What a person or program said to an agent."""

    message_type: Literal["user_message"] = "user_message"
    content: str


class AssistantFoundOut(FoundOut, frozen=True, kw_only=True):
    """What an agent said."""

    message_type: Literal["assistant_message"] = "assistant_message"
    content: str


class MessageHitOut(Struct, frozen=True, kw_only=True):
    """A message as it is stored, and how it was found."""

    embedded_text: str
    message: dict[str, Any]
    fts_rank: int | None
    vector_rank: int | None
    rrf_score: float


class NoScope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing can be said about it."""


class WarmIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which index to make ready."""

    collection: Literal["messages"]
    scope: NoScope


class WarmOut(Struct, frozen=True, kw_only=True):
    """That it is ready."""

    collection: Literal["messages"] = "messages"
    status: str = "ok"
    warmed: bool = True


async def search_all_messages(house: House, ask: Ask[None, SearchAllMessagesIn]) -> Noted:
    """What was said and fits best, best first."""
    found = await _search(house, ask.body, ask.body.query, SAID, said=True)
    return _noted([_show_found(one) for one in found.found], found)


async def search_messages(house: House, ask: Ask[None, SearchMessagesIn]) -> Noted:
    """The messages that fit best, best first, as they are stored; without a query, the newest."""
    body = ask.body
    if body.project_id or body.template_id:
        raise InvalidInput("project_id, template_id: this server has no projects", field="project_id")
    kinds: tuple[MessageKind, ...] = ANY
    if body.roles is not None:
        kinds = tuple(dict.fromkeys([KINDS[role] for role in body.roles]))
    if not kinds:
        return Noted([], None)
    found = await _search(house, body, body.query or "", kinds, said=False)
    return _noted([_show_hit(one) for one in found.found], found)


async def warm_internal_search_cache(house: House, ask: Ask[None, WarmIn]) -> WarmOut:
    """Have the index over the messages of all agents ready."""
    await house.recall.warm()
    return WarmOut()


async def _search(
    house: House,
    body: SearchAllMessagesIn | SearchMessagesIn,
    text: str,
    kinds: tuple[MessageKind, ...],
    *,
    said: bool,
) -> Recollection:
    agent_id, thread_id = body.agent_id, None
    if body.conversation_id is not None:
        thread = await read_thread(house, body.conversation_id, agent_id)
        if agent_id not in (None, thread.agent_id):
            return Recollection(found=(), searched=0, complete=True)
        agent_id, thread_id = thread.agent_id, thread.id
    elif agent_id is not None:
        await house.roster.get_settings(AgentId(agent_id))
    return await house.recall.search(
        RecallQuery(
            text=text,
            mode=body.search_mode,
            agent_id=None if agent_id is None else AgentId(agent_id),
            thread_id=thread_id,
            kinds=kinds,
            said=said,
            from_us=read_date(body.start_date, ("body", "start_date"), UTC),
            to_us=read_date(body.end_date, ("body", "end_date"), UTC, end_of_day=True),
            limit=body.limit,
        )
    )


def _noted(shown: Sequence[Struct], found: Recollection) -> Noted:
    if found.complete:
        return Noted(shown, None)
    note = f"the newest {found.searched} messages were searched; give an earlier end_date, or an agent, to go on"
    return Noted(shown, note)


def _show_found(found: Recalled) -> UserFoundOut | AssistantFoundOut:
    message = found.message
    shape = UserFoundOut if message.kind == "user" else AssistantFoundOut
    return shape(
        message_id=message.id,
        agent_id=message.agent_id,
        conversation_id=message.conversation_id or DEFAULT,
        created_at=seconds_date(message.created_at_us),
        content="\n".join(part.text for part in message.parts if isinstance(part, TextPart)),
    )


def _show_hit(found: Recalled) -> MessageHitOut:
    message = found.message
    row = show_row(message, {message.id: message.id, message.agent_id: message.agent_id}, UTC)
    del row["type"]
    more = {"conversation_id": message.conversation_id, "run_id": message.run_id, "step_id": message.step_id}
    return MessageHitOut(
        embedded_text=found.text,
        message=row | more,
        fts_rank=found.hit.text_rank,
        vector_rank=found.hit.vector_rank,
        rrf_score=found.hit.score,
    )


ROUTES = (
    Route(
        method="POST",
        path="/v1/messages/search",
        name="search_all_messages",
        summary="Search what was said to and by agents",
        tag="messages",
        handler=search_all_messages,
        body=SearchAllMessagesIn,
        answer=list[Annotated[Any, one_of(UserFoundOut, AssistantFoundOut)]],
        shapes=(UserFoundOut, AssistantFoundOut),
        refusals=(400, 404),
    ),
    Route(
        method="POST",
        path="/v1/agents/messages/search",
        name="search_messages",
        summary="Search messages of agents, as they are stored",
        tag="agents",
        handler=search_messages,
        body=SearchMessagesIn,
        answer=list[MessageHitOut],
        refusals=(400, 404),
    ),
    Route(
        method="POST",
        path="/v1/_internal_search/cache-warm",
        name="warm_internal_search_cache",
        summary="Have the index over all messages ready",
        tag="_internal_search",
        handler=warm_internal_search_cache,
        body=WarmIn,
        answer=WarmOut,
        status=202,
    ),
)
