"""Messages of all agents on the wire: listed in the order of time, and read one by one."""

from kelpie.agent.state import AGENTS
from kelpie.api.letta.house import House
from kelpie.api.letta.message_shapes import MESSAGE_SHAPES, ShownMessage, WireMessage, show_message
from kelpie.api.letta.messages import ListMessages, list_indexed, read_page_of, show_page
from kelpie.api.letta.threads import read_conversation_id
from kelpie.api.route import Ask, Route
from kelpie.errors import NotFound
from kelpie.ids import MessageId


class ListAll(ListMessages, frozen=True, kw_only=True):
    """Which page, of all messages or of those of one conversation."""

    conversation_id: str | None = None


async def list_all_messages(house: House, ask: Ask[ListAll, None]) -> list[WireMessage]:
    """A page of all messages, within it always the oldest first."""
    query = ask.query
    if query.conversation_id is None:
        return await list_indexed(house, None, query)
    view = await house.conversations.get(read_conversation_id(query.conversation_id))
    return show_page(await read_page_of(house, view.conversation.thread, query), query)


async def retrieve_message(house: House, ask: Ask[None, None]) -> list[WireMessage]:
    """One message, as the several that the wire makes of it."""
    stored = await house.history.find(MessageId(ask.path["message_id"]))
    if await house.records.get(AGENTS.at(stored.agent_id)) is None:
        raise NotFound(f"Message with id '{stored.id}' not found", message_id=stored.id)
    return show_message(stored)


ROUTES = (
    Route(
        method="GET",
        path="/v1/messages/",
        name="list_all_messages",
        summary="List the messages of all agents",
        tag="messages",
        handler=list_all_messages,
        query=ListAll,
        answer=list[ShownMessage],
        shapes=MESSAGE_SHAPES,
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/messages/{message_id}",
        name="retrieve_message",
        summary="Read a message",
        tag="messages",
        handler=retrieve_message,
        answer=list[ShownMessage],
        shapes=MESSAGE_SHAPES,
        refusals=(404,),
    ),
)
