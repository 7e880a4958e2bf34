"""Goal: a key is remembered for its time, once, and then forgotten without a trace, however many there are."""

import asyncio

import pytest

from kelpie.actor.recovery import REMINDERS
from kelpie.agent import inbox
from kelpie.agent.calls import Send
from kelpie.agent.state import INBOX, INBOX_BY_TIME, AgentState, InboxEntry, InputMessage, RunOptions
from kelpie.errors import Conflict, InvalidInput
from kelpie.ids import AgentId, RunId
from kelpie.limits import IDEMPOTENCY_KEY_BYTES_MAX, INBOX_KEPT_MS, INBOX_SWEPT_MAX
from kelpie.llm.messages import TextPart
from kelpie.storage.records import Batch, Records
from kelpie.world import World
from tests.unit.actor.build import a_store, virtual
from tests.unit.agent.build import a_node, said

ANN = AgentId("agent-ann")


def a_send(key: str | None = "k", *, run: str = "run-1", text: str = "hi") -> Send:
    messages = (InputMessage(kind="user", parts=(TextPart(text=text),)),)
    return Send(
        run_id=RunId(run),
        messages=messages,
        options=RunOptions(),
        key_hash=None if key is None else inbox.hash_key(key),
        digest=inbox.hash_request(messages, RunOptions()),
    )


def a_state() -> AgentState:
    return AgentState(id=ANN, version=1, next_seq=1, window=())


async def remembered(records: Records, state: AgentState, send: Send, now_ms: int) -> AgentState:
    batch = Batch()
    after = inbox.remember(batch, state, send, now_ms)
    if batch.writes:
        await records.commit(batch)
    return after


async def swept(records: Records, state: AgentState, now_ms: int) -> AgentState:
    batch = Batch()
    after = await inbox.sweep(records, batch, state, now_ms)
    await records.commit(batch)
    return after


async def counts(records: Records) -> tuple[int, int, int]:
    """Entries, index rows, reminders."""
    return (
        len(await records.scan(INBOX, ANN, limit=1_000)),
        len(await records.scan(INBOX_BY_TIME, ANN, limit=1_000)),
        len(await records.scan(REMINDERS, limit=1_000)),
    )


def test_keys_have_bounds_and_are_stored_as_hashes() -> None:
    assert len(inbox.hash_key("k")) == 64 and inbox.hash_key("k") != inbox.hash_key("l")
    inbox.hash_key("k" * IDEMPOTENCY_KEY_BYTES_MAX)
    inbox.hash_key("\ud800")  # half a character, as a client may send it
    for key in ("", "k" * (IDEMPOTENCY_KEY_BYTES_MAX + 1), "é" * IDEMPOTENCY_KEY_BYTES_MAX):
        with pytest.raises(InvalidInput):
            inbox.hash_key(key)


def test_a_request_is_the_same_if_its_messages_and_options_are() -> None:
    entry = InboxEntry(run_id=RunId("run-1"), digest=a_send().digest, at_ms=0)
    inbox.check_same(entry, a_send(run="run-2"))
    with pytest.raises(InvalidInput):
        inbox.check_same(entry, a_send(text="ho"))
    messages = a_send().messages
    other = inbox.hash_request(messages, RunOptions(steps_max=1))
    assert other != inbox.hash_request(messages, RunOptions())


def test_without_a_key_nothing_is_remembered() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        assert await remembered(records, a_state(), a_send(None), 5) == a_state()
        assert await counts(records) == (0, 0, 0)

    virtual(main)


def test_a_key_is_written_once_and_one_reminder_is_armed_for_all() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        state = await remembered(records, a_state(), a_send("k"), 5)
        assert state.sweep_due_ms == 5 + INBOX_KEPT_MS
        assert await remembered(records, state, a_send("l"), 6) == state
        assert await counts(records) == (2, 2, 1)
        with pytest.raises(Conflict):
            await remembered(records, state, a_send("k", run="run-2"), 7)
        found = await records.get(INBOX.at(ANN, inbox.hash_key("k")))
        assert found is not None
        assert found.value == InboxEntry(run_id=RunId("run-1"), digest=a_send().digest, at_ms=5)

    virtual(main)


def test_a_sweep_removes_what_is_too_old_and_comes_again_for_the_rest() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        state = a_state()
        for at_ms in (5, 6, 100):
            state = await remembered(records, state, a_send(str(at_ms)), at_ms)
        state = await swept(records, state, 6 + INBOX_KEPT_MS)
        assert state.sweep_due_ms == 100 + INBOX_KEPT_MS
        assert await counts(records) == (1, 1, 1)
        state = await swept(records, state, 100 + INBOX_KEPT_MS)
        assert (state, await counts(records)) == (a_state(), (0, 0, 0))
        again = await remembered(records, state, a_send("5", run="run-9"), 200 + INBOX_KEPT_MS)
        assert again.sweep_due_ms == 200 + 2 * INBOX_KEPT_MS

    virtual(main)


def test_a_sweep_is_bounded_and_the_next_one_follows_at_once() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        state = a_state()
        for at in range(INBOX_SWEPT_MAX + 3):
            state = await remembered(records, state, a_send(str(at)), 7)
        now_ms = 9 + INBOX_KEPT_MS
        state = await swept(records, state, now_ms)
        assert (state.sweep_due_ms, await counts(records)) == (now_ms + 1, (3, 3, 1))
        assert await swept(records, state, now_ms + 1) == a_state()
        assert await counts(records) == (0, 0, 0)

    virtual(main)


def test_forgetting_all_takes_the_reminder_along() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        state = a_state()
        for at in range(3):
            state = await remembered(records, state, a_send(str(at)), at)
        batch = Batch()
        inbox.forget_all(batch, state)
        await records.commit(batch)
        assert await counts(records) == (0, 0, 0)

    virtual(main)


def test_an_agent_asleep_is_woken_to_forget_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "INBOX_KEPT_MS", 300_000)

    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            run_id = await node.door.send(ann, said("hello"), RunOptions(), key="k")
            await node.door.finish(run_id)
            records = node.outside.records
            assert len(await records.scan(INBOX, ann, limit=9)) == 1
            await asyncio.sleep(200)
            assert node.host.active == 0
            assert await node.door.send(ann, said("hello"), RunOptions(), key="k") == run_id
            await asyncio.sleep(110)
            assert await records.scan(INBOX, ann, limit=9) == []
            assert await records.scan(REMINDERS, limit=9) == []
            assert await node.door.send(ann, said("hello"), RunOptions(), key="k") != run_id

    virtual(main)
