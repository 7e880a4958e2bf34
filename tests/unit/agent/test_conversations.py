"""Goal: the threads of an agent are apart in what they say and one in what the agent is. Method: whole nodes."""

import asyncio

import pytest

from kelpie.agent.conversations import ConversationChanges, ConversationFilter, Conversations, NewConversation
from kelpie.agent.drafts import AgentChanges, NewBlock
from kelpie.agent.listing import Listing
from kelpie.agent.settings import read_settings
from kelpie.agent.state import AGENT_RUNS, CONVERSATION_RUNS
from kelpie.agent.thread import Thread
from kelpie.errors import Busy, InvalidInput, NotFound
from kelpie.ids import AgentId, ConversationId
from kelpie.llm.messages import Sampling
from kelpie.memory.blocks import BLOCKS, Blocks
from kelpie.memory.history import MessageIndex
from kelpie.storage.paging import Page
from kelpie.world import World
from tests.unit.actor.build import running, virtual
from tests.unit.agent.build import (
    TEA,
    Node,
    a_node,
    an_outside,
    block_values,
    history_of,
    rows_about,
    said,
    state_of,
    tell,
    until,
)

NEWEST = Page(limit=10)


def conversations_of(node: Node) -> Conversations:
    return Conversations(node.outside.records, node.outside.world)


async def converse(node: Node, agent_id: AgentId, **fields: object) -> ConversationId:
    view = await conversations_of(node).create(agent_id, NewConversation(**fields))  # type: ignore[arg-type]
    return ConversationId(view.conversation.id)


def test_threads_have_histories_of_their_own_and_share_the_agents_blocks() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            conv = await converse(node, ann)
            await node.talk(ann, "hello")
            await node.talk(conv, TEA)
            assert [line.split(":")[0] for line in tell(await history_of(node.outside, ann))] == [
                "system",
                "user",
                "assistant",
            ]
            talk = await history_of(node.outside, conv)
            assert [message.kind for message in talk] == ["system", "user", "assistant", "tool", "assistant"]
            assert {(message.agent_id, message.conversation_id) for message in talk} == {(ann, conv)}
            assert "likes tea" in (await block_values(node.outside, node, ann))[0]
            state = await state_of(node.outside, conv)
            assert state.thread == Thread(agent_id=ann, conversation_id=conv)
            assert [entry.seq for entry in state.window] == [0, 1, 2, 3, 4]
            runs = [await node.outside.records.scan(AGENT_RUNS, ann, limit=9)]
            runs.append(await node.outside.records.scan(CONVERSATION_RUNS, conv, limit=9))
            assert [len(found) for found in runs] == [2, 1]

    virtual(main)


def test_turns_of_different_threads_run_at_once_and_of_one_thread_one_after_another() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            one, two = await converse(node, ann), await converse(node, ann)
            node.outside.models.delay_ms = 500
            runs = [await node.send(thread, text) for thread in (ann, one, two) for text in ("a", "b")]
            await until(lambda: node.outside.models.open == 3)
            await asyncio.sleep(0.1)
            assert (node.outside.models.open, len(node.outside.models.requests)) == (3, 3)
            for run_id in runs:
                assert (await node.door.finish(run_id))[1].stop_reason == "end_turn"

    virtual(main)


def test_a_conversation_may_have_its_own_model_sampling_and_blocks() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create(new_blocks=(NewBlock(label="human", value="H"), NewBlock(label="notes", value="N")))
            sampling = Sampling(temperature=0.5)
            own = {"model": "kelpie/rehearsed", "sampling": sampling, "isolated_labels": ("human",)}
            conv = await converse(node, ann, **own)
            await node.talk(conv, TEA)
            assert await block_values(node.outside, node, ann) == ["H", "N"], "the agent's own block is as it was"
            settings = await read_settings(node.outside.records, Thread(agent_id=ann, conversation_id=conv))
            blocks = await node.outside.records.get_all([BLOCKS.at(ref.id) for ref in settings.blocks])
            assert ["likes tea" in found.value.value for found in blocks if found is not None] == [True, False]
            assert (settings.model, settings.sampling) == ("kelpie/rehearsed", sampling)
            with pytest.raises(InvalidInput, match="unknown"):
                await converse(node, ann, isolated_labels=("unknown",))
            isolated = settings.blocks[0].id
            await node.door.delete(conv)
            await asyncio.sleep(1)
            assert rows_about(node, conv, isolated) == []

    virtual(main)


def test_a_fork_shares_the_past_and_not_the_future() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            await node.talk(ann, "first")
            await node.talk(ann, "second")
            past = await history_of(node.outside, ann)
            room = conversations_of(node)
            whole = await room.fork(Thread(agent_id=ann), up_to=None, hidden=None)
            part = await room.fork(Thread(agent_id=ann), up_to=past[2].id, hidden=True)
            again = await room.fork(whole.conversation.thread, up_to=None, hidden=None)
            for view, count in ((whole, 5), (part, 3), (again, 5)):
                ids = [entry.id for entry in view.state.window]
                assert ids[1:] == [message.id for message in past[1:count]]
                assert ids[0] != past[0].id
            await node.talk(ConversationId(whole.conversation.id), "third")
            assert await history_of(node.outside, ann) == past
            listing = Listing(node.outside.records, Blocks(node.outside.records, world))
            listed = await MessageIndex(node.outside.records, ann, listing.present).page(limit=100)
            ids = [message.id for message in listed]
            assert len(ids) == len(set(ids)) == 5 + 2 + 3, "what is shared is listed once; three forks, three prompts"
            with pytest.raises(InvalidInput, match="not in the context window"):
                await room.fork(part.conversation.thread, up_to=past[4].id, hidden=None)
            await node.door.delete(ann)
            await asyncio.sleep(3)
            assert rows_about(node, ann) == []

    virtual(main)


@pytest.mark.parametrize("kill_ms", [0, 2, 10, 1_500])
def test_an_agent_that_goes_takes_its_conversations_with_it_wherever_they_are(kill_ms: int) -> None:
    """One conversation sleeps, one is awake and idle, one waits for a model; in between the node is killed."""

    async def main(world: World) -> None:
        outside = an_outside(world)
        first = Node(outside)
        async with running(first.host):
            ann = await first.create()
            convs = [await converse(first, ann) for _ in range(3)]
            await first.talk(convs[1], "hello")
            outside.models.delay_ms = 4_000
            run_id = await first.send(convs[2], "hello")
            await first.door.delete(ann)
            for conv in convs:
                with pytest.raises(NotFound, match=conv):
                    await conversations_of(first).get(conv)
            await asyncio.sleep(kill_ms / 1000)
        second = Node(outside)
        async with running(second.host):
            await asyncio.sleep(30)
            assert rows_about(second, ann, *convs, run_id) == []
            assert second.host.active == 0

    virtual(main)


def test_windows_are_reset_set_and_recompiled_but_not_under_a_turn() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            await node.talk(ann, "first")
            await node.talk(ann, "second")
            past = await history_of(node.outside, ann)
            await node.door.set_window(ann, [past[0].id, past[3].id])
            assert [entry.seq for entry in (await state_of(node.outside, ann)).window] == [0, 3]
            with pytest.raises(InvalidInput, match="system message"):
                await node.door.set_window(ann, [past[1].id])
            with pytest.raises(InvalidInput, match="twice"):
                await node.door.set_window(ann, [past[0].id, past[1].id, past[1].id])
            with pytest.raises(NotFound):
                await node.door.set_window(ann, [past[0].id, "message-x"])  # type: ignore[list-item]
            await node.door.reset(ann, said("welcome"))
            assert tell(await history_of(node.outside, ann))[-1] == "user: welcome"
            assert [entry.seq for entry in (await state_of(node.outside, ann)).window] == [0, 5]
            await node.roster.update(ann, AgentChanges(system="Be brief."))
            assert (await node.door.recompile(ann)).startswith("Be brief.")
            assert tell(await history_of(node.outside, ann))[0].startswith("system: Be brief.")
            node.outside.models.delay_ms = 1_000
            await node.send(ann, "third")
            for edit in (node.door.reset(ann), node.door.set_window(ann, [past[0].id])):
                with pytest.raises(Busy, match="busy with another active run"):
                    await edit
            assert (await node.door.recompile(ann)).startswith("Be brief.")

    virtual(main)


def test_conversations_are_found_page_by_page_in_any_order() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann, bob = await node.create(), await node.create(name="bob")
            room = conversations_of(node)
            convs = []
            for at in range(4):
                convs.append(await converse(node, ann if at < 3 else bob, summary=f"Talk {at}"))
                await asyncio.sleep(0.01)
            await node.talk(convs[1], "hello")
            await node.talk(convs[0], "hello")
            await room.update(convs[2], ConversationChanges(archived_at_us=7))

            async def found(page: Page = NEWEST, order: str = "created_at", **wanted: object) -> list[int]:
                views = await room.find(ConversationFilter(**wanted), page, order)  # type: ignore[arg-type]
                return [convs.index(view.conversation.id) for view in views]  # type: ignore[arg-type]

            assert await found() == [3, 1, 0]
            assert await found(archived=None) == [3, 2, 1, 0]
            assert await found(agent_id=ann) == [1, 0]
            assert await found(agent_id=ann, archived=True) == [2]
            assert await found(text="tALK 3") == [3]
            assert await found(order="last_message_at") == [0, 1, 3]
            assert await found(order="last_run_completion", agent_id=ann) == [0, 1]
            oldest = Page(after=convs[0], limit=1, newest_first=False)
            assert await found(oldest) == await found(oldest, agent_id=ann) == [1]
            with pytest.raises(NotFound):
                await found(Page(after=convs[3], limit=1), agent_id=ann)
            await room.update(convs[1], ConversationChanges(last_message_at_us=2**60))
            assert await found(order="last_message_at") == [1, 0, 3]
            await node.door.delete(bob)
            assert await found() == [1, 0]

    virtual(main)
