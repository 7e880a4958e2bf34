"""Goal: a search over messages answers as if its index had been built for it alone, and says what it left out.

Method: random messages, copies and removals in several threads; a long-lived recall against one that is new each time.
"""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelpie.ids import AgentId, ConversationId, MessageId
from kelpie.llm.embedding import BUILT_IN, Embeddings
from kelpie.llm.messages import TextPart, ToolCallPart
from kelpie.memory import recall as room
from kelpie.memory.history import MessageKind, StoredMessage, append, delete
from kelpie.memory.indexes import Indexes
from kelpie.memory.recall import Recall, RecallQuery, Recollection
from kelpie.storage.records import Batch, Records

from .build import a_store

ANN, BOB = AgentId("agent-ann"), AgentId("agent-bob")
TALK = ConversationId("conv-1")
WORDS = ("sky blue", "we deploy", "deployment on friday", "peanuts")
SAID: tuple[MessageKind, ...] = ("user", "assistant")


def message(number: int, text: str = "sky", **fields) -> StoredMessage:
    """A message whose id is not in the order of time."""
    fields = {"agent_id": ANN, "seq": number, "kind": "user", "created_at_us": number * 10, **fields}
    return StoredMessage(id=MessageId(f"message-{number * 7 % 10}{number}"), parts=(TextPart(text=text),), **fields)


async def store(records: Records, *messages: StoredMessage) -> None:
    batch = Batch()
    for one in messages:
        append(batch, one)
    await records.commit(batch)


def a_recall(records: Records) -> Recall:
    return Recall(records, Indexes(), Embeddings(None), BUILT_IN.handle)


def asking(text: str = "sky", **fields) -> RecallQuery:
    return RecallQuery(text=text, **{"kinds": SAID, "limit": 10, **fields})


def texts(answer: Recollection) -> list[str]:
    return [one.text for one in answer.found]


def test_what_was_said_is_found_wherever_it_was(run) -> None:
    """Of all agents, of one, of one conversation; of the kinds that are asked for."""

    async def play() -> None:
        records = Records(a_store())
        recall = a_recall(records)
        assert await recall.search(asking()) == Recollection(found=(), searched=0, complete=True)
        calls = StoredMessage(
            id=MessageId("message-9"), agent_id=ANN, seq=9, kind="assistant", created_at_us=90,
            parts=(ToolCallPart(call_id="c", name="paint", arguments='{"what":"sky"}'),),
        )  # fmt: skip
        await store(
            records,
            message(1, "the sky is blue"),
            message(2, "sky over bob", agent_id=BOB),
            message(3, "sky in a talk", conversation_id=TALK),
            message(4, "the prompt of the sky", kind="system"),
            calls,
        )
        found = await recall.search(asking("the sky is blue"))
        assert (texts(found)[0], found.searched, found.complete) == ("the sky is blue", 5, True)
        assert sorted(texts(await recall.search(asking(said=True)))) == [
            "sky in a talk",
            "sky over bob",
            "the sky is blue",
        ]
        assert texts(await recall.search(asking(agent_id=BOB))) == ["sky over bob"]
        assert texts(await recall.search(asking(agent_id=ANN, thread_id=TALK))) == ["sky in a talk"]
        assert texts(await recall.search(asking(kinds=("system",)))) == ["the prompt of the sky"]
        assert texts(await recall.search(asking("paint", mode="fts"))) == ['paint({"what":"sky"})']
        assert texts(await recall.search(asking("", said=True, limit=2))) == ["sky in a talk", "sky over bob"]
        assert texts(await recall.search(asking(from_us=20, to_us=30))) == ["sky in a talk", "sky over bob"]

    run(play())


def test_how_far_it_looked_is_bounded_and_said(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are searched; an earlier end goes on from there."""
    monkeypatch.setattr(room, "MESSAGES_SEARCHED_MAX", 5)
    monkeypatch.setattr(room, "MESSAGES_INDEXED_MAX", 8)

    async def play() -> None:
        records = Records(a_store())
        await store(records, *[message(number, f"sky {number}") for number in range(1, 13)])
        recall = a_recall(records)
        newest = await recall.search(asking(agent_id=ANN))
        assert (len(newest.found), newest.searched, newest.complete) == (5, 5, False)
        older = await recall.search(asking(agent_id=ANN, to_us=70))
        assert sorted(texts(older)) == [f"sky {number}" for number in range(3, 8)]
        oldest = await recall.search(asking(agent_id=ANN, to_us=20))
        assert (sorted(texts(oldest)), oldest.complete) == (["sky 1", "sky 2"], True)
        assert await recall.search(asking(agent_id=ANN)) == newest

    run(play())


def test_it_can_be_warmed(run) -> None:
    """Also when there is nothing yet."""

    async def play() -> None:
        records = Records(a_store())
        recall = a_recall(records)
        await recall.warm()
        await store(records, message(1))
        await recall.warm()
        assert texts(await recall.search(asking())) == ["sky"]

    run(play())


numbers = st.integers(1, 9)
steps = st.tuples(st.sampled_from(["say", "copy", "remove", "ask"]), numbers, st.sampled_from(WORDS))
asked = st.builds(
    asking,
    st.sampled_from(("", *WORDS)),
    mode=st.sampled_from(["vector", "fts", "hybrid"]),
    agent_id=st.none() | st.just(ANN) | st.just(BOB),
    thread_id=st.none() | st.just(TALK),
    from_us=st.none() | st.integers(0, 90),
    to_us=st.none() | st.integers(0, 90),
    limit=st.integers(1, 5),
)


@given(st.lists(st.tuples(steps, asked), max_size=15))
def test_it_equals_one_that_is_new(changes) -> None:
    """Whatever was said, copied to another thread or removed in between, and whatever was asked before."""

    async def play() -> None:
        records, there = Records(a_store()), dict[tuple[str, str], StoredMessage]()
        recall = a_recall(records)
        for (verb, number, text), question in changes:
            one = message(number, text, agent_id=BOB if number % 3 == 0 else ANN)
            if verb == "copy":
                one = message(number, text, agent_id=one.agent_id, conversation_id=TALK)
            if verb in ("say", "copy") and (one.thread_id, one.id) not in there:
                twin = next((other for (_, id), other in there.items() if id == one.id), None)
                parts = one.parts if twin is None else twin.parts  # a copy says the same
                one = StoredMessage(
                    id=one.id, agent_id=one.agent_id, conversation_id=one.conversation_id, seq=one.seq, kind=one.kind,
                    parts=parts, created_at_us=one.created_at_us,
                )  # fmt: skip
                await store(records, one)
                there[one.thread_id, one.id] = one
            elif verb == "remove" and (gone := there.pop((one.thread_id, one.id), None)) is not None:
                batch = Batch()
                delete(batch, gone)
                await records.commit(batch)
            assert simply(await recall.search(question)) == simply(await a_recall(records).search(question))

    asyncio.run(play())


def simply(answer: Recollection) -> tuple:
    return [(one.message.id, one.text, one.hit) for one in answer.found], answer.searched, answer.complete
