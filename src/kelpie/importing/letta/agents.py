"""Agents and conversations: settings, then the whole history of the thread, then the state, which makes it visible."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, get_args

import msgspec
from msgspec import Struct

from kelpie.agent.conversations import open_conversations
from kelpie.agent.drafts import Past
from kelpie.agent.identities import IDENTITIES
from kelpie.agent.secrets import Secret, seal_secrets
from kelpie.agent.state import (
    AGENT_THREADS,
    AGENTS,
    CONVERSATIONS,
    STATES,
    AgentState,
    BlockRef,
    Conversation,
    StopReason,
    ThreadIndex,
    WindowEntry,
)
from kelpie.agent.view import AgentView
from kelpie.api.letta.agent_file.pen import Pen
from kelpie.api.letta.agent_file.rows import CONTENT_KINDS, Place, read_picture, read_row, read_time
from kelpie.api.letta.agent_file.shapes import convert
from kelpie.api.letta.agent_requests import AgentFieldsIn, CreateAgentIn, ModelSettingsIn, read_new_agent, read_sampling
from kelpie.errors import InvalidInput
from kelpie.ids import AgentId, AnyThreadId, BlockId, ConversationId, MessageId, ThreadId
from kelpie.importing.journal import digest
from kelpie.importing.letta.ground import Ground, checked_id
from kelpie.importing.letta.kinds import sum_of
from kelpie.importing.move import DONE, Also, Carried, Outcome, Present, Row, Staying
from kelpie.limits import IMPORT_ROWS_AT_ONCE, MESSAGE_BYTES_MAX
from kelpie.llm.messages import Sampling
from kelpie.memory.history import MESSAGES, StoredMessage, append
from kelpie.memory.render import compile_system
from kelpie.storage.records import Batch

STOP_REASONS: tuple[str, ...] = get_args(StopReason)
SAME_MOMENT_US = 1_000_000  # dates of messages have seconds where the API tells them
SAME = (
    "name agent_type system description llm_config embedding_config tool_rules timezone message_buffer_autoclear"
    " response_format hidden max_files_open per_file_view_window_char_limit project_id template_id base_template_id"
    " compaction_settings"
).split()


class Told(Struct, frozen=True, kw_only=True):
    """A history that was written: how many messages, which of them the model sees, the sum of all digests."""

    count: int
    window: tuple[WindowEntry, ...]
    sum: int
    without: tuple[str, ...]  # what is not as it was


class Teller:
    """Writes the history of one thread: its system message first, then the others as they come."""

    def __init__(self, ground: Ground, agent_id: AgentId, conversation_id: ConversationId | None) -> None:
        self._records = ground.house.records
        self._ground = ground
        self._agent_id = agent_id
        self._conversation_id = conversation_id
        self._seqs: dict[str, int] = {}
        self._sum = 0
        self._last_us = 0  # of the message before
        self._noted: set[str] = set()  # of what a note stands in place; in no order

    async def tell(self, system: Row, shown: list[str], rows: AsyncIterator[Row], *, dry: bool) -> Told:
        """Everything, in as many commits as it takes; nobody finds it before the state of the thread is there."""
        pen = Pen(self._records)
        self._add(pen, system)
        async for row in rows:
            if row.get("is_deleted") or row["id"] in self._seqs:
                continue
            self._add(pen, row)
            if not dry:
                await pen.turn()
        if not dry:
            await pen.finish()
        seen = [system["id"], *[id for id in shown if id != system["id"]]]
        window = [WindowEntry(id=MessageId(id), seq=self._seqs[id]) for id in seen if id in self._seqs]
        assert window[0].seq == 0, "a window begins with the system message"
        without = tuple(f"a note stands in its messages in place of {what}" for what in sorted(self._noted))
        if len(seen) > len(window):
            without += ("its window named messages that are not there",)
        return Told(count=len(self._seqs), window=tuple(window), sum=self._sum, without=without)

    def _add(self, pen: Pen, row: Row) -> None:
        place = Place(
            id=MessageId(row["id"]),
            agent_id=self._agent_id,
            conversation_id=self._conversation_id,
            seq=len(self._seqs),
        )
        row, noted = with_notes(row)
        self._noted |= noted
        message = read_row(row, place)
        if 0 <= self._last_us - message.created_at_us < SAME_MOMENT_US:  # what came later is later
            message = msgspec.structs.replace(message, created_at_us=self._last_us + 1)
        self._last_us = message.created_at_us
        self._seqs[row["id"]] = place.seq
        self._sum += digest(MESSAGES.at(message.thread_id, message.seq), message)
        append(pen.batch, message)


class Agents:
    """Agents keep their ids, and so do their messages."""

    name, table = "agents", "agents"

    def __init__(self, ground: Ground, *, dry: bool) -> None:
        self._ground = ground
        self._dry = dry
        self.coming: set[str] = set()  # in a dry run; only asked for membership

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """An agent with its default thread; the roster commits."""
        house, agent_id = self._ground.house, AgentId(checked_id("agent", row))
        if await house.records.get(AGENTS.at(agent_id)) is not None:
            return Present()
        entity, missing = await self._entity(row)
        new = read_new_agent(convert(entity, CreateAgentIn, row["name"]), row["name"])
        new = msgspec.structs.replace(new, secrets=await self._secrets(agent_id))
        shown = [str(id) for id in row.get("message_ids") or ()]
        blocks = await house.blocks.get_many([BlockId(id) for id in entity["block_ids"]])
        text = compile_system(new.system, [found.value for found in blocks if found is not None])
        system = await system_row(self._ground, shown, text, row, agent_id=agent_id)
        told = await Teller(self._ground, agent_id, None).tell(system, shown, self._messages(agent_id), dry=self._dry)
        past = Past(
            id=agent_id,
            created_at_us=read_time(row["created_at"]),
            updated_at_us=read_time(row["updated_at"]),
            window=told.window,
            next_seq=told.count,
            last_run_at_us=read_time(row["last_run_completion"]) if row.get("last_run_completion") else None,
            last_run_ms=row.get("last_run_duration_ms"),
            last_stop_reason=read_stop(row.get("last_stop_reason")),
        )
        parts = {"messages": told.count}
        without = tuple(f"its tool '{name}' is not here" for name in missing) + told.without

        def journal(batch: Batch, view: AgentView) -> None:
            own = digest(AGENTS.at(agent_id), view.settings) + digest(STATES.at(agent_id), view.state)
            also(batch, Carried(sum=own + told.sum, parts=parts, without=without))

        if self._dry:
            self.coming.add(agent_id)
            also(batch, Carried(sum=told.sum, parts=parts, without=without))
        else:
            await house.roster.create(new, past, journal)
        return DONE

    async def stored(self, id: str) -> int:
        """Settings, state and history as they are stored."""
        return await sum_of(self._ground, AGENTS.at(id), STATES.at(id)) + await sum_of_history(
            self._ground, ThreadId(id)
        )

    async def _entity(self, row: Row) -> tuple[dict[str, Any], list[str]]:
        """The agent as a client would ask for it, and the names of tools that are not here."""
        agent_id = row["id"]
        tool_ids, missing = await self._ground.tool_ids(agent_id)
        config = dict(row.get("llm_config") or {})
        if "handle" in config:
            config["handle"] = self._ground.model(config["handle"])
        links = await self._ground.links("blocks_agents", "block_id", agent_id=agent_id)
        tags = await self._ground.links("agents_tags", "tag", agent_id=agent_id)
        entity = {
            **{name: row[name] for name in SAME if row.get(name) is not None},
            "metadata": row.get("metadata_"),
            "llm_config": config,
            "tags": [link["tag"] for link in tags],
            "tool_ids": tool_ids,
            "block_ids": [link["block_id"] for link in sorted(links, key=lambda link: link["block_label"])],
            "include_base_tools": False,
            "identity_ids": await self._identities(agent_id),
        }
        return entity, missing

    async def _identities(self, agent_id: str) -> list[str]:
        """Those of its identities that are here; those that are not were named when they stayed."""
        links = await self._ground.links("identities_agents", "identity_id", agent_id=agent_id)
        ids = [str(link["identity_id"]) for link in links]
        return [id for id in ids if self._dry or await self._ground.house.records.get(IDENTITIES.at(id)) is not None]

    async def _secrets(self, agent_id: str) -> tuple[Secret, ...]:
        """Its secrets, sealed anew. Raises SecretUnreadable."""
        rows = await self._ground.links("agent_environment_variables", "id", agent_id=agent_id)
        values = {one["key"]: self._ground.secrets.read(one, "value") or "" for one in rows}
        return seal_secrets(self._ground.house.vault, self._ground.house.world.entropy, values)

    async def _messages(self, agent_id: str) -> AsyncIterator[Row]:
        """The messages of the agent that are in no conversation, in order."""
        async for row in pages(self._ground, "messages", "sequence_id", agent_id=agent_id):
            if row.get("conversation_id") is None:
                yield row


class Conversations:
    """Conversations keep their ids; a message that stands in several of them is in each."""

    name, table = "conversations", "conversations"

    def __init__(self, ground: Ground, agents: Agents, *, dry: bool) -> None:
        self._ground = ground
        self._agents = agents
        self._dry = dry
        self._all = open_conversations(ground.house.records, ground.house.world.entropy)

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """A conversation with its history."""
        records, id = self._ground.house.records, ConversationId(checked_id("conv", row))
        agent_id = AgentId(row["agent_id"])
        if await records.get(CONVERSATIONS.at(id)) is not None:
            return Present()
        agent = await records.get(AGENTS.at(agent_id))
        if agent is None and agent_id not in self._agents.coming:
            return Staying(reason="its agent did not come along")
        links = await self._ground.links("conversation_messages", "position", conversation_id=id)
        shown = [link["message_id"] for link in links if link["in_context"]]
        system = await system_row(self._ground, shown, "" if agent is None else agent.value.system, row)
        told = await Teller(self._ground, agent_id, id).tell(system, shown, self._messages(links), dry=self._dry)
        blocks = await self._ground.links("blocks_conversations", "block_id", conversation_id=id)
        conversation = Conversation(
            id=id,
            agent_id=agent_id,
            summary=row.get("summary"),
            model=self._ground.model(row.get("model")),
            sampling=_sampling(row.get("model_settings")),
            blocks=tuple(BlockRef(label=link["block_label"], id=BlockId(link["block_id"])) for link in blocks),
            last_message_at_us=read_time(row["last_message_at"]) if row.get("last_message_at") else None,
            created_at_us=read_time(row["created_at"]),
            updated_at_us=read_time(row["updated_at"]),
        )
        state = AgentState(id=ThreadId(id), agent_id=agent_id, version=1, next_seq=told.count, window=told.window)
        self._all.put_new(batch, conversation)
        batch.put_new(STATES.at(id), state)
        batch.put(AGENT_THREADS.at(agent_id, id), ThreadIndex(id=id))
        own = digest(CONVERSATIONS.at(id), conversation) + digest(STATES.at(id), state)
        parts = {"messages of conversations": told.count}
        also(batch, Carried(sum=own + told.sum, parts=parts, without=told.without))
        return DONE

    async def stored(self, id: str) -> int:
        """The conversation, its state and its history as they are stored."""
        own = await sum_of(self._ground, CONVERSATIONS.at(id), STATES.at(id))
        return own + await sum_of_history(self._ground, ThreadId(id))

    async def _messages(self, links: list[Row]) -> AsyncIterator[Row]:
        for link in links:
            for row in await self._ground.source.rows("messages", limit=1, where={"id": link["message_id"]}):
                yield row


async def pages(ground: Ground, table: str, by: str, **where: str) -> AsyncIterator[Row]:
    """All rows that are about one thing, in the order of that column."""
    after: Any = None
    while True:
        rows = await ground.source.rows(table, by=by, after=after, limit=IMPORT_ROWS_AT_ONCE, where=dict(where))
        for row in rows:
            yield row
        if len(rows) < IMPORT_ROWS_AT_ONCE:
            return
        assert after is None or rows[-1][by] > after, "ends: each page is further on"
        after = rows[-1][by]


async def system_row(ground: Ground, shown: list[str], text: str, row: Row, **where: str) -> Row:
    """The system message that the window begins with; if there is none, one of our making, under the thread's uuid."""
    for found in await ground.source.rows("messages", limit=1, where={**where, "id": shown[0]}) if shown else ():
        if found["role"] == "system":
            return found
    own = f"message-{str(row['id']).partition('-')[2]}"
    return {"id": own, "role": "system", "content": text, "created_at": row["created_at"]}


async def sum_of_history(ground: Ground, thread_id: AnyThreadId) -> int:
    """The digests of all messages of a thread as they are stored."""
    total, after = 0, None
    while True:
        found = await ground.house.history.list(thread_id, after_seq=after, limit=IMPORT_ROWS_AT_ONCE)
        for message in found:
            total += _digest(message)
        if len(found) < IMPORT_ROWS_AT_ONCE:
            return total
        assert after is None or found[-1].seq > after
        after = found[-1].seq


def with_notes(row: Row) -> tuple[Row, set[str]]:
    """The message with a note in place of each piece of content that has no place here; what these are.

    Content is what was said, and what tools returned. The pictures of a message have so much room and no more.
    """
    room, reasons = MESSAGE_BYTES_MAX, set[str]()

    def noted(content: Any) -> Any:
        nonlocal room
        if not isinstance(content, list) or not all(isinstance(piece, dict) for piece in content):
            return content
        kept: list[Any] = []
        for piece in content:
            reason, size = _why_not(piece, room)
            room -= size
            kept.append(piece if reason is None else {"type": "text", "text": f"[{piece.get('type')}]"})
            reasons.update(() if reason is None else (reason,))
        return kept

    changed = {"content": noted(row.get("content"))}
    for field in ("tool_returns", "approvals"):
        returns = row.get(field) or ()
        changed[field] = [
            {**one, "func_response": noted(one["func_response"])} if "func_response" in one else one for one in returns
        ]
    return ({**row, **changed}, reasons) if reasons else (row, reasons)


def _why_not(piece: Mapping[str, Any], room: int) -> tuple[str | None, int]:
    """What a piece of content is that has no place here (None: it has), and how much room it takes."""
    if piece.get("type") not in CONTENT_KINDS:
        return f"content of type '{piece.get('type')}'", 0
    if piece.get("type") != "image":
        return None, 0
    try:
        size = len(read_picture(piece).data or "")
    except InvalidInput:
        return "a picture that is not there or of a type that is not understood", 0
    if size > room:
        return f"a picture, for those of one message may take {MESSAGE_BYTES_MAX} bytes", 0
    return None, size


def read_stop(reason: str | None) -> StopReason | None:
    """Why the last run ended; a reason that is not known here was an error."""
    if reason is None:
        return None
    return msgspec.convert(reason if reason in STOP_REASONS else "error", StopReason)


def _digest(message: StoredMessage) -> int:
    return digest(MESSAGES.at(message.thread_id, message.seq), message)


def _sampling(settings: Mapping[str, Any] | None) -> Sampling | None:
    """A conversation's own settings of the model. Raises InvalidInput."""
    if not settings:
        return None
    try:
        given = msgspec.convert(settings, ModelSettingsIn)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"model_settings: {error}") from None
    return read_sampling(AgentFieldsIn(model_settings=given), Sampling())
