"""Conversations as only the hosted service had them: found by their names, begun without an agent, summed up."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from kelpie.agent.conversations import NewConversation
from kelpie.agent.thread import Thread
from kelpie.api.letta.agent_requests import CreateAgentIn, ModelSettingsIn, Tokens, read_new_agent
from kelpie.api.letta.conversations import ConversationOut, show_conversation
from kelpie.api.letta.house import House
from kelpie.api.letta.models import MODEL_SETTINGS_SHAPES
from kelpie.api.letta.paging import read_cursor
from kelpie.api.letta.threads import read_thread
from kelpie.api.route import Ask, Route
from kelpie.errors import NotFound
from kelpie.ids import AgentId, new_step_id
from kelpie.limits import PAGE_ROWS_MAX, REQUEST_BYTES_MAX, SEARCH_QUERY_CHARS_MAX, TEXT_FIELD_CHARS_MAX
from kelpie.llm.messages import ModelMessage, ModelRequest, TextPart
from kelpie.llm.model import ModelInfo

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


class SaidIn(Struct, frozen=True, kw_only=True):
    """One message of what is to be summed up."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[str, Meta(max_length=REQUEST_BYTES_MAX)]


class SummarizeIn(Struct, frozen=True, kw_only=True):
    """What to make of these messages. A model that there is not stands for the conversation's own."""

    prompt: Annotated[str, Meta(min_length=1, max_length=TEXT_FIELD_CHARS_MAX)]
    messages: Annotated[list[SaidIn], Meta(min_length=1)]
    model: str | None = None


class SummaryOut(Struct, frozen=True, kw_only=True):
    """What the model made of them."""

    summary: str


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


async def summarize(house: House, ask: Ask[None, SummarizeIn]) -> SummaryOut:
    """What a model says to messages that the client gives, under a prompt that it gives; nothing is stored."""
    thread = await read_thread(house, ask.path["conversation_id"], None)
    info = await _summariser(house, thread, ask.body.model)
    told = "\n\n".join(f"{one.role}: {one.content}" for one in ask.body.messages)
    request = ModelRequest(
        model=info.model,
        system=ask.body.prompt,
        messages=(ModelMessage(role="user", parts=(TextPart(text=told),)),),
        step_id=new_step_id(house.world.entropy),
    )
    reply = await house.models.ask(info, request, None)
    return SummaryOut(summary="".join(part.text for part in reply.parts if isinstance(part, TextPart)))


async def _summariser(house: House, thread: Thread, handle: str | None) -> ModelInfo:
    """The model that is named if there is such a one, else the conversation's, else its agent's."""
    if handle is not None:
        try:
            return await house.models.find(handle)
        except NotFound:
            pass  # clients name models of the hosted service, e.g. one that picks another by itself
    settings = await house.roster.get_settings(thread.agent_id)
    if thread.conversation_id is None:
        return await house.models.find(settings.model)
    own = (await house.conversations.get(thread.conversation_id)).conversation
    return await house.models.find(own.model or settings.model)


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
    Route(
        method="POST",
        path="/v1/conversations/{conversation_id}/summarize",
        name="summarize_conversation",
        summary="Sum up messages of a conversation",
        tag="hosted",
        handler=summarize,
        body=SummarizeIn,
        answer=SummaryOut,
        refusals=(400, 404, 503),
    ),
)
