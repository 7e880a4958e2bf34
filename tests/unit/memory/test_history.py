"""History: order, places, what a search finds and how far it looked."""

import msgspec
import pytest

from kelpie.errors import NotFound
from kelpie.ids import AgentId, ConversationId
from kelpie.limits import GET_KEYS_MAX
from kelpie.llm.messages import ReasoningPart, TextPart, ToolCallPart, ToolReturnPart
from kelpie.memory import history as history_module
from kelpie.memory.history import History, HistoryHits, HistoryQuery, MessageIndex, append, delete, searchable_text
from kelpie.storage.records import Batch, Records
from tests.unit.memory.build import AGENT, START_US, a_message, a_store, calls, message_id, returns

OTHER = AgentId("agent-00000000-0000-4000-8000-000000000002")
TALK_OF_IT = ConversationId("conv-00000000-0000-4000-8000-000000000003")


async def _history(*messages):
    records = Records(a_store())
    for at in range(0, len(messages), 400):
        batch = Batch()
        for message in messages[at : at + 400]:
            append(batch, message)
        await records.commit(batch)
    return History(records), records


def test_list_is_in_order_from_either_end(run):
    """Both bounds are exclusive; newest_first takes the newest and turns the order round."""

    async def check() -> None:
        messages = [a_message(seq, text="x" * (100_000 if seq == 2 else 1)) for seq in range(6)]
        history, _ = await _history(*messages)
        assert await history.list(AGENT, limit=10) == messages
        assert await history.list(AGENT, limit=2) == messages[:2]
        assert await history.list(AGENT, limit=2, newest_first=True) == messages[:3:-1]
        assert await history.list(AGENT, after_seq=1, before_seq=4, limit=10) == messages[2:4]
        assert await history.list(AGENT, after_seq=1, before_seq=4, limit=1, newest_first=True) == [messages[3]]
        assert await history.list(OTHER, limit=10) == []

    run(check())


def test_messages_are_found_by_place_and_id(run):
    """More places than one read may have; an unknown id or place is NotFound."""

    async def check() -> None:
        count = GET_KEYS_MAX + 3
        messages = [a_message(seq) for seq in range(count)]
        history, _ = await _history(*messages)
        assert await history.get_many(AGENT, range(count - 1, -1, -1)) == messages[::-1]
        assert await history.get_many(AGENT, []) == []
        assert await history.place(AGENT, message_id(7)) == 7
        with pytest.raises(NotFound):
            await history.place(OTHER, message_id(7))
        with pytest.raises(NotFound):
            await history.get_many(AGENT, [0, count])

    run(check())


INDEXED = [
    [(AGENT, 0), (AGENT, 1), (AGENT, 2), (AGENT, 3)],
    [(AGENT, 0), (AGENT, 1), (AGENT, 3), (AGENT, 4)],
    [(AGENT, 3), (AGENT, 2), (AGENT, 0), (AGENT, 1)],
    [(AGENT, 0), (TALK_OF_IT, 1), (TALK_OF_IT, 2), (AGENT, 3)],
    [(TALK_OF_IT, 5)],
    [],
]


@pytest.mark.parametrize("places", INDEXED)
@pytest.mark.parametrize("at_once", [1, 2, 200])
def test_an_agents_messages_are_listed_by_time_wherever_they_stand(run, monkeypatch, places, at_once):
    """Neighbours in one thread, gaps, a thread whose clock went back, two threads in turn; however many are read."""
    monkeypatch.setattr(history_module, "MESSAGES_READ_AT_ONCE", at_once)

    async def present(agent_ids):
        return frozenset(agent_ids)

    async def check() -> None:
        messages = [
            msgspec.structs.replace(
                a_message(seq, text="x" * (100_000 if seq == 2 else 1)),
                conversation_id=None if thread is AGENT else thread,
                created_at_us=START_US + at,
            )
            for at, (thread, seq) in enumerate(places)
        ]
        _, records = await _history(*messages)
        index = MessageIndex(records, AGENT, present)
        for limit in (1, 2, 3, 10):
            assert await index.page(limit=limit) == messages[:limit]
            assert await index.page(limit=limit, newest_first=True) == messages[::-1][:limit]

    run(check())


def test_deleted_messages_leave_nothing(run):
    """Rows, their chunks, places and indexes are removed; a copy under the same id in another thread stays."""

    async def check() -> None:
        other = a_message(0)
        other = type(other)(id=other.id, agent_id=OTHER, seq=0, kind="user", parts=other.parts, created_at_us=1)
        large, small = a_message(0, text="x" * 200_000), a_message(1)
        history, records = await _history(large, small, other)
        batch = Batch()
        delete(batch, large)
        delete(batch, small)
        await records.commit(batch)
        assert await history.list(OTHER, limit=5) == [other]
        assert await history.place(OTHER, other.id) == 0
        assert len(await records.store.scan(b"a", b"~", limit=10)) == 4

    run(check())


TALK = (
    a_message(0, "system", "about tea"),
    a_message(1, "user", "I like TEA and cake"),
    a_message(2, "assistant", "Which tea?"),
    a_message(3, "assistant", parts=(ToolCallPart(call_id="a", name="brew", arguments='{"kind":"tea"}'),)),
    a_message(4, "tool", parts=(ToolReturnPart(call_id="a", name="brew", text="tea is ready", ok=True),)),
    a_message(5, "assistant", parts=(ToolCallPart(call_id="b", name="search", arguments='{"query":"tea"}'),)),
    a_message(6, "tool", parts=(ToolReturnPart(call_id="b", name="search", text="tea, tea", ok=True),)),
    a_message(7, "assistant", parts=(ReasoningPart(text="tea is dull"), TextPart(text="Here you are"))),
    a_message(8, "user", "More cake"),
)
SEARCHES = [
    (HistoryQuery(text="tea"), [6, 5, 4, 3, 2, 1]),
    (HistoryQuery(text="tea", skip_tools=("search",)), [4, 3, 2, 1]),
    (HistoryQuery(text="cake Tea"), [1]),
    (HistoryQuery(text="tea", kinds=("assistant",), skip_tools=("search",)), [3, 2]),
    (HistoryQuery(text="about", kinds=("system",)), [0]),
    (HistoryQuery(text="brew"), [3]),
    (HistoryQuery(text="dull"), []),
    (HistoryQuery(text="", kinds=("user",)), [8, 1]),
    (HistoryQuery(text="cake", from_us=START_US + 8), [8]),
    (HistoryQuery(text="cake", to_us=START_US + 7), [1]),
    (HistoryQuery(text="tea", from_us=START_US + 2, to_us=START_US + 4), [4, 3, 2]),
]


@pytest.mark.parametrize(("query", "seqs"), SEARCHES)
def test_search_finds_what_was_asked_for_newest_first(run, query, seqs):
    """Words in any case and order, kinds, times, and not the search itself; thinking is not searched."""

    async def check() -> None:
        history, _ = await _history(*TALK)
        hits = await history.search(AGENT, query)
        assert [message.seq for message in hits.messages] == seqs
        assert hits.complete

    run(check())


def test_search_says_how_far_it_looked(run, monkeypatch):
    """Three bounds: enough hits, the most that one search reads, and the begin of the history."""
    monkeypatch.setattr(history_module, "MESSAGES_READ_AT_ONCE", 2)
    monkeypatch.setattr(history_module, "HISTORY_SEARCHED_MAX", 4)

    async def check() -> None:
        history, _ = await _history(*TALK)
        enough = await history.search(AGENT, HistoryQuery(text="cake", limit=1))
        assert enough == HistoryHits(messages=(TALK[8],), searched=1, complete=False)
        bounded = await history.search(AGENT, HistoryQuery(text="cake"))
        assert bounded == HistoryHits(messages=(TALK[8],), searched=4, complete=False)
        recent = await history.search(AGENT, HistoryQuery(text="cake", from_us=START_US + 7))
        assert recent == HistoryHits(messages=(TALK[8],), searched=3, complete=True)
        short, _ = await _history(*TALK[:2])
        assert await short.search(AGENT, HistoryQuery(text="cake")) == HistoryHits(
            messages=(TALK[1],), searched=2, complete=True
        )
        assert await short.search(OTHER, HistoryQuery()) == HistoryHits(messages=(), searched=0, complete=True)

    run(check())


def test_searchable_text_has_a_line_for_each_part():
    """What is skipped leaves no empty line."""
    message = calls(0, "a", "b", text="let me see")
    assert searchable_text(message) == "let me see\nlook({})\nlook({})"
    assert searchable_text(message, ("look",)) == "let me see"
    assert searchable_text(returns(1, "a", text="seen")) == "seen"
