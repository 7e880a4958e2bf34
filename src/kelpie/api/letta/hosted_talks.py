"""Conversations as only the hosted service had them: found by what they are called, or begun without an agent."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from kelpie.agent.conversations import NewConversation
from kelpie.api.letta.agent_requests import CreateAgentIn, ModelSettingsIn, Tokens, read_new_agent
from kelpie.api.letta.conversations import ConversationOut, show_conversation
from kelpie.api.letta.house import House
from kelpie.api.letta.models import MODEL_SETTINGS_SHAPES
from kelpie.api.letta.paging import read_cursor
from kelpie.api.route import Ask, Route
from kelpie.ids import AgentId
from kelpie.limits import PAGE_ROWS_MAX, SEARCH_QUERY_CHARS_MAX

FOUND_DEFAULT = 20
EPHEMERAL_NAME = "Ephemeral conversation"


class SearchConversationsIn(Struct, frozen=True, kw_only=True):
    """Words to be found, in any mode: what conversations are called is too short to be embedded.

    `search_target`: which text is looked through; where a conversation has none of that kind, its other one.
    """

    query: Annotated[str, Meta(min_length=1, max_length=SEARCH_QUERY_CHARS_MAX)]
    agent_id: str | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_ROWS_MAX)] = FOUND_DEFAULT
    search_mode: Literal["vector", "fts", "hybrid"] | None = None
    search_target: Literal["summary", "description"] = "description"


class FoundConversationOut(Struct, frozen=True, kw_only=True):
    """A conversation, the text that was looked through, and which part of the words it has."""

    embedded_text: str
    conversation: ConversationOut
    rrf_score: float


class EphemeralIn(Struct, frozen=True, kw_only=True):
    """What a conversation without an agent has instead of one."""

    model: str
    system: str
    model_settings: ModelSettingsIn | None = None
    context_window_limit: Tokens | None = None


async def search_conversations(house: House, ask: Ask[None, SearchConversationsIn]) -> list[FoundConversationOut]:
    """The conversations that are called like that, the best first."""
    body = ask.body
    agent_id = read_cursor("agent", body.agent_id, "agent_id")
    found = await house.conversations.search(
        None if agent_id is None else AgentId(agent_id), body.query, body.search_target, body.limit
    )
    return [
        FoundConversationOut(
            embedded_text=one.text, conversation=await show_conversation(house, one.view), rrf_score=one.score
        )
        for one in found
    ]


async def create_ephemeral(house: House, ask: Ask[None, EphemeralIn]) -> ConversationOut:
    """A conversation of a hidden agent of its own, which has no memory and no tools."""
    body = ask.body
    agent = await house.roster.create(
        read_new_agent(
            CreateAgentIn(
                name=EPHEMERAL_NAME,
                model=body.model,
                system=body.system,
                model_settings=body.model_settings,
                context_window_limit=body.context_window_limit,
                memory_blocks=[],
                include_base_tools=False,
                hidden=True,
            ),
            EPHEMERAL_NAME,
        )
    )
    return await show_conversation(house, await house.conversations.create(agent.settings.id, NewConversation()))


ROUTES = (
    Route(
        method="POST",
        path="/v1/conversations/search",
        name="search_conversations",
        summary="Find conversations by what they are called",
        tag="hosted",
        handler=search_conversations,
        body=SearchConversationsIn,
        answer=list[FoundConversationOut],
        shapes=MODEL_SETTINGS_SHAPES,
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/v1/conversations/ephemeral",
        name="create_ephemeral_conversation",
        summary="Begin a conversation without an agent",
        tag="hosted",
        handler=create_ephemeral,
        body=EphemeralIn,
        answer=ConversationOut,
        shapes=MODEL_SETTINGS_SHAPES,
        refusals=(400, 404),
    ),
)
