"""The conversations of agents as records: made, forked, read, listed, changed. No verb here waits for a turn.

A conversation is a thread with a record of its own: what people call it, and what it has instead of the agent's model
and blocks. It is made with its state and its system message by one commit that also checks that the agent is as it was
read, so none is made for an agent that is being removed. A fork has copies of the messages that its source's model
sees, under the same ids; their common past is never written again, so neither thread can change the other.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from kelpie.agent.drafts import check_window
from kelpie.agent.roster import not_found
from kelpie.agent.settings import overlay
from kelpie.agent.state import (
    AGENT_THREADS,
    AGENTS,
    CONVERSATIONS,
    STATES,
    AgentSettings,
    AgentState,
    BlockRef,
    Conversation,
    ThreadIndex,
    WindowEntry,
)
from kelpie.agent.thread import Thread, thread_not_found
from kelpie.errors import Conflict, InvalidInput, LimitExceeded
from kelpie.ids import (
    AgentId,
    ConversationId,
    MessageId,
    new_block_id,
    new_conversation_id,
    new_message_id,
)
from kelpie.limits import (
    COLLECTION_SCANNED_MAX,
    COMMIT_BYTES_MAX,
    COMMIT_OPERATIONS_MAX,
    EDIT_ATTEMPTS_MAX,
    GET_KEYS_MAX,
    PAGE_ROWS_MAX,
    SCAN_ROWS_MAX,
    TEXT_FIELD_CHARS_MAX,
)
from kelpie.llm.messages import Sampling, TextPart
from kelpie.memory import blocks as block_rows
from kelpie.memory.blocks import BLOCKS, Block
from kelpie.memory.history import History, StoredMessage, append
from kelpie.memory.render import compile_system
from kelpie.memory.words import words_of
from kelpie.storage.collection import Collection
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Records, stand_back
from kelpie.world import Entropy, World

ConversationOrder = Literal["created_at", "last_run_completion", "last_message_at"]


class NewConversation(Struct, frozen=True, kw_only=True):
    """A conversation to be made. `isolated_labels`: of these blocks of the agent it gets copies of its own."""

    summary: str | None = None
    description: str | None = None
    model: str | None = None
    context_window_tokens: int | None = None
    sampling: Sampling | None = None
    isolated_labels: tuple[str, ...] = ()
    hidden: bool | None = None


class FoundConversation(Struct, frozen=True, kw_only=True):
    """A conversation that a search found, the text that it looked through, and the part of the words found there."""

    view: "ConversationView"
    text: str
    score: float


class ConversationChanges(Struct, frozen=True, kw_only=True):
    """What an edit changes; UNSET stays as it is."""

    summary: str | None | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    model: str | None | UnsetType = UNSET
    context_window_tokens: int | None | UnsetType = UNSET
    sampling: Sampling | None | UnsetType = UNSET
    archived_at_us: int | None | UnsetType = UNSET
    last_message_at_us: int | UnsetType = UNSET


class ConversationFilter(Struct, frozen=True, kw_only=True):
    """Which conversations a list is about; None filters nothing."""

    agent_id: AgentId | None = None
    text: str | None = None  # a part of the summary, in any case
    archived: bool | None = False
    hidden: bool | None = False


class ConversationView(Struct, frozen=True, kw_only=True):
    """A conversation as it is shown: what people decided, and what its owner knows."""

    conversation: Conversation
    state: AgentState

    @property
    def last_message_at_us(self) -> int | None:
        """When a message was last sent to it, or when people say that one was."""
        return max(filter(None, (self.conversation.last_message_at_us, self.state.last_message_at_us)), default=None)


class _Source(Struct, frozen=True, kw_only=True):
    """What a new conversation begins with, beside its system message."""

    messages: Sequence[StoredMessage] = ()
    own: Conversation | None = None


class Conversations:
    """All conversations in the store."""

    def __init__(self, records: Records, world: World) -> None:
        self._records = records
        self._world = world
        self._history = History(records)
        self._collection = open_conversations(records, world.entropy)

    # -- one conversation ----------------------------------------------------------------------------------

    async def create(self, agent_id: AgentId, new: NewConversation) -> ConversationView:
        """Make a conversation whose model sees the system message alone.

        Raises NotFound (no such agent), InvalidInput (a label that the agent has no block of), LimitExceeded.
        """
        return await self._make(agent_id, new, _Source())

    async def fork(self, thread: Thread, *, up_to: MessageId | None, hidden: bool | None) -> ConversationView:
        """A new conversation of the same agent that begins with what the thread's model sees, or saw until a message.

        Raises NotFound, InvalidInput (the message is not in the thread's window), LimitExceeded (compact it first).
        """
        found = await self._records.get(STATES.at(thread.id))
        if found is None or found.value.deleting:
            raise thread_not_found(thread.id)
        entries = found.value.window
        assert entries and entries[0].seq == 0, "a window begins with the system message"
        if up_to is not None:
            at = next((at for at, entry in enumerate(entries) if entry.id == up_to), None)
            if at is None:
                sentence = f"message '{up_to}' is not in the context window of this conversation"
                raise InvalidInput(sentence, field="message_id")
            entries = entries[: at + 1]
        messages = await self._history.get_many(thread.id, [entry.seq for entry in entries])
        assert messages[0].kind == "system"
        own = None if thread.conversation_id is None else (await self._collection.get(thread.conversation_id)).value
        new = NewConversation(
            model=None if own is None else own.model,
            context_window_tokens=None if own is None else own.context_window_tokens,
            sampling=None if own is None else own.sampling,
            isolated_labels=() if own is None else tuple(ref.label for ref in own.blocks),
            hidden=hidden,
        )
        return await self._make(thread.agent_id, new, _Source(messages=messages[1:], own=own))

    async def get(self, conversation_id: ConversationId) -> ConversationView:
        """The conversation. Raises NotFound, also when its agent is gone."""
        own, state = await self._records.get_two(CONVERSATIONS.at(conversation_id), STATES.at(conversation_id))
        if own is None or state is None or state.value.deleting:
            raise thread_not_found(conversation_id)
        if await self._records.get(AGENTS.at(own.value.agent_id)) is None:
            raise thread_not_found(conversation_id)
        assert own.value.id == state.value.id == conversation_id
        return ConversationView(conversation=own.value, state=state.value)

    async def update(self, conversation_id: ConversationId, changes: ConversationChanges) -> ConversationView:
        """Edit a conversation. Raises NotFound, LimitExceeded, Conflict."""

        def change(now: Conversation) -> Conversation:
            given = {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not UNSET}
            changed = msgspec.structs.replace(now, **given)
            if changed == now:
                return now
            _check(changed)
            return msgspec.structs.replace(changed, updated_at_us=max(self._world.wall.now_us(), now.updated_at_us))

        await self._collection.edit(conversation_id, change)
        return await self.get(conversation_id)

    # -- lists ---------------------------------------------------------------------------------------------

    async def find(self, wanted: ConversationFilter, page: Page, order: ConversationOrder) -> list[ConversationView]:
        """A page of conversations. Raises NotFound for an unknown agent or cursor, LimitExceeded for too many."""
        assert 0 < page.limit <= PAGE_ROWS_MAX
        if order == "created_at" and wanted.agent_id is None:
            found = await self._collection.page(page, lambda each: _is_wanted(each, wanted))
            return await self._with_states(found)
        if wanted.agent_id is not None and await self._records.get(AGENTS.at(wanted.agent_id)) is None:
            raise not_found(wanted.agent_id)
        every = await self._every(wanted.agent_id)
        views = await self._with_states([each for each in every if _is_wanted(each, wanted)])
        views.sort(key=lambda view: (_rank(view, order), view.conversation.id), reverse=page.newest_first)
        ids = [view.conversation.id for view in views]
        assert len(set(ids)) == len(ids)
        for cursor in (page.after, page.before):
            if cursor is not None and cursor not in ids:
                raise thread_not_found(ConversationId(cursor))
        start = 0 if page.after is None else ids.index(page.after) + 1
        end = len(ids) if page.before is None else ids.index(page.before)
        return views[start:end][: page.limit]

    async def search(
        self, agent_id: AgentId | None, query: str, text: Literal["summary", "description"], limit: int
    ) -> list[FoundConversation]:
        """The conversations whose text has any word of the query: most words first, then the newest.

        Raises NotFound for an unknown agent, LimitExceeded for too many conversations.
        """
        assert 0 < limit <= PAGE_ROWS_MAX
        if agent_id is not None and await self._records.get(AGENTS.at(agent_id)) is None:
            raise not_found(agent_id)
        words = set(words_of(query))
        scored = [(_words_found(each, text, words), each) for each in await self._every(agent_id) if not each.hidden]
        scored = [(count, each) for count, each in scored if count]
        scored.sort(key=lambda one: (one[0], one[1].created_at_us, one[1].id), reverse=True)
        assert not scored or words
        views = await self._with_states([each for _, each in scored[:limit]])
        return [
            FoundConversation(
                view=view,
                text=_text_of(view.conversation, text),
                score=_words_found(view.conversation, text, words) / len(words),
            )
            for view in views
        ]

    async def _every(self, agent_id: AgentId | None) -> list[Conversation]:
        """All conversations, or those of one agent."""
        assert PAGE_ROWS_MAX <= SCAN_ROWS_MAX
        found: list[Conversation] = []
        after: str | None = None
        while len(found) < COLLECTION_SCANNED_MAX:
            if agent_id is None:
                page = Page(after=after, limit=PAGE_ROWS_MAX, newest_first=False)
                some = await self._collection.page(page)
                count, after = len(some), some[-1].id if some else None
            else:
                index = await self._records.scan(AGENT_THREADS, agent_id, after=after, limit=PAGE_ROWS_MAX)
                count, after = len(index), index[-1].value.id if index else None
                some = await self._collection.get_many([each.value.id for each in index])
            assert len(some) <= count
            found += some
            if count < PAGE_ROWS_MAX:
                return found
        raise LimitExceeded(
            f"there are more than {COLLECTION_SCANNED_MAX} conversations to sort",
            limit="COLLECTION_SCANNED_MAX",
            maximum=COLLECTION_SCANNED_MAX,
        )

    async def _with_states(self, found: Sequence[Conversation]) -> list[ConversationView]:
        """The conversations with their states; those that are being removed, or whose agent is, are left out."""
        agent_ids = list(dict.fromkeys(each.agent_id for each in found))
        agents: set[str] = set()
        states: dict[str, AgentState] = {}
        for at in range(0, len(agent_ids), GET_KEYS_MAX):
            rows = await self._records.get_all([AGENTS.at(each) for each in agent_ids[at : at + GET_KEYS_MAX]])
            agents.update(row.value.id for row in rows if row is not None)
        for at in range(0, len(found), GET_KEYS_MAX):
            rows = await self._records.get_all([STATES.at(each.id) for each in found[at : at + GET_KEYS_MAX]])
            states.update((row.value.id, row.value) for row in rows if row is not None and not row.value.deleting)
        return [
            ConversationView(conversation=each, state=states[each.id])
            for each in found
            if each.agent_id in agents and each.id in states
        ]

    # -- making --------------------------------------------------------------------------------------------

    async def _make(self, agent_id: AgentId, new: NewConversation, source: _Source) -> ConversationView:
        conversation_id = new_conversation_id(self._world.entropy)
        for attempt in range(EDIT_ATTEMPTS_MAX):
            settings = await self._records.get(AGENTS.at(agent_id))
            if settings is None:
                raise not_found(agent_id)
            isolated = await self._isolate(settings.value, new.isolated_labels, source.own)
            own = self._build(agent_id, conversation_id, new, isolated)
            _check(own)
            batch = Batch()
            batch.check(settings)
            if not settings.value.conversations:
                batch.put(AGENTS.at(agent_id), msgspec.structs.replace(settings.value, conversations=True))
            for block in isolated:
                block_rows.put_new(batch, block)
            system = await self._system_of(own, settings.value, isolated)
            state = self._put_new(batch, own, [system, *source.messages])
            assert state.id == own.id and state.thread.agent_id == agent_id
            assert len(state.window) == 1 + len(source.messages)
            _check_fits(batch)
            try:
                await self._records.commit(batch)
            except Conflict:
                await stand_back(attempt, self._world.entropy)
                continue
            return ConversationView(conversation=own, state=state)
        raise Conflict(f"agent '{agent_id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")

    async def _isolate(
        self, settings: AgentSettings, labels: Sequence[str], source: Conversation | None
    ) -> list[Block]:
        """Copies of the blocks of these labels, as the source conversation has them; not stored yet."""
        shown = settings if source is None else overlay(settings, source)
        ids = {ref.label: ref.id for ref in shown.blocks}
        missing = [label for label in labels if label not in ids]
        if missing and source is None:
            raise InvalidInput(f"the agent has no block with label {missing}", field="isolated_block_labels")
        wanted = [BLOCKS.at(ids[label]) for label in dict.fromkeys(labels) if label in ids]
        now_us = self._world.wall.now_us()
        return [
            msgspec.structs.replace(
                found.value, id=new_block_id(self._world.entropy), created_at_us=now_us, updated_at_us=now_us
            )
            for found in await self._records.get_all(wanted)
            if found is not None
        ]

    def _build(
        self, agent_id: AgentId, conversation_id: ConversationId, new: NewConversation, isolated: Sequence[Block]
    ) -> Conversation:
        now_us = self._world.wall.now_us()
        return Conversation(
            id=conversation_id,
            agent_id=agent_id,
            summary=new.summary,
            description=new.description,
            model=new.model,
            context_window_tokens=new.context_window_tokens,
            sampling=new.sampling,
            blocks=tuple(BlockRef(label=block.label, id=block.id) for block in isolated),
            hidden=new.hidden,
            created_at_us=now_us,
            updated_at_us=now_us,
        )

    async def _system_of(self, own: Conversation, settings: AgentSettings, isolated: Sequence[Block]) -> StoredMessage:
        """The system message as the model would be given it now."""
        made = {block.id: block for block in isolated}
        refs = overlay(settings, own).blocks
        others = await self._records.get_all([BLOCKS.at(ref.id) for ref in refs if ref.id not in made])
        blocks = made | {found.value.id: found.value for found in others if found is not None}
        text = compile_system(settings.system, [blocks[ref.id] for ref in refs if ref.id in blocks])
        return StoredMessage(
            id=new_message_id(self._world.entropy),
            agent_id=own.agent_id,
            seq=0,
            kind="system",
            parts=(TextPart(text=text),),
            created_at_us=own.created_at_us,
        )

    def _put_new(self, batch: Batch, own: Conversation, messages: Sequence[StoredMessage]) -> AgentState:
        """The conversation with its state and these messages, from the system message on."""
        assert messages[0].kind == "system", "a window begins with the system message"
        thread = own.thread
        assert thread.conversation_id is not None
        window: list[WindowEntry] = []
        for seq, message in enumerate(messages):
            moved = msgspec.structs.replace(message, conversation_id=thread.conversation_id, seq=seq)
            append(batch, moved, copied=seq > 0)
            window.append(WindowEntry(id=message.id, seq=seq))
        state = AgentState(
            id=thread.id,
            agent_id=thread.agent_id,
            version=1,
            next_seq=len(messages),
            window=tuple(window),
        )
        self._collection.put_new(batch, own)
        batch.put(AGENT_THREADS.at(thread.agent_id, own.id), ThreadIndex(id=thread.conversation_id))
        batch.check_absent(STATES.at(thread.id))
        batch.put(STATES.at(thread.id), state)
        return state


def open_conversations(records: Records, entropy: Entropy) -> Collection[Conversation]:
    """The conversations' own records, with their places in the order of creation."""
    return Collection(records, entropy, CONVERSATIONS, "Conversation")


def _text_of(own: Conversation, text: Literal["summary", "description"]) -> str:
    """That text of a conversation, or its other one where it has none."""
    texts = (own.summary, own.description) if text == "summary" else (own.description, own.summary)
    return texts[0] or texts[1] or ""


def _words_found(own: Conversation, text: Literal["summary", "description"], words: set[str]) -> int:
    return len(words.intersection(words_of(_text_of(own, text))))


def _is_wanted(own: Conversation, wanted: ConversationFilter) -> bool:
    if wanted.agent_id is not None and own.agent_id != wanted.agent_id:
        return False
    if wanted.archived is not None and wanted.archived != (own.archived_at_us is not None):
        return False
    if wanted.hidden is not None and wanted.hidden != bool(own.hidden):
        return False
    return wanted.text is None or wanted.text.casefold() in (own.summary or "").casefold()


def _rank(view: ConversationView, order: ConversationOrder) -> int:
    """What a list is sorted by; what has never happened comes before all that has."""
    match order:
        case "created_at":
            return view.conversation.created_at_us
        case "last_run_completion":
            return view.state.last_run_at_us or 0
        case "last_message_at":
            return view.last_message_at_us or 0


def _check(own: Conversation) -> None:
    """InvalidInput or LimitExceeded, naming the field, unless this may be stored."""
    for field, text in (("summary", own.summary), ("description", own.description)):
        if text is not None and len(text) > TEXT_FIELD_CHARS_MAX:
            raise LimitExceeded(
                f"{field}: {len(text)} characters are over the limit of {TEXT_FIELD_CHARS_MAX}",
                field=field,
                limit="TEXT_FIELD_CHARS_MAX",
                maximum=TEXT_FIELD_CHARS_MAX,
            )
    if own.context_window_tokens is not None:
        check_window(own.context_window_tokens)


def _check_fits(batch: Batch) -> None:
    """All that a fork begins with is one commit."""
    assert len(batch.writes) + len(batch.checks) <= COMMIT_OPERATIONS_MAX, "a window has a bound"
    if batch.bytes_total > COMMIT_BYTES_MAX:
        raise LimitExceeded(
            f"the conversation's window has {batch.bytes_total} bytes and may have {COMMIT_BYTES_MAX} to be forked;"
            " compact it first",
            limit="COMMIT_BYTES_MAX",
            maximum=COMMIT_BYTES_MAX,
        )
