"""Agents send each other messages: answered, told, by tags; never in a circle, never without end, never twice."""

import asyncio

import msgspec
import pytest
from msgspec import Raw

from kelpie.agent.state import RUNS, Run, RunOptions
from kelpie.errors import CallTimedOut, LimitExceeded
from kelpie.ids import AgentId, RunId, StepId
from kelpie.limits import AGENTS_ADDRESSED_MAX, CALL_CHAIN_MAX
from kelpie.storage.records import Batch
from kelpie.tools.tool import Tool, ToolRequest
from tests.unit.agent.rehearsing import heard, rehearsing, returns, say
from tests.unit.api.knocking import Visitor

ASK = "send_message_to_agent_and_wait_for_reply"
TELL = "send_message_to_agent_async"
ASK_TAGS = "send_message_to_agents_matching_tags"


def call(tool: str, target: str, message: str) -> str:
    quoted = message.replace('"', '\\"')
    return f'Call the {tool} tool with {{"other_agent_id": "{target}", "message": "{quoted}"}}'


async def agent(visitor: Visitor, name: str = "a", **fields: object) -> str:
    return (await visitor.agent(name=name, include_multi_agent_tools=True, **fields))["id"]


def test_an_agent_asks_another_and_gets_its_answer(run) -> None:
    """The other is told who asks; its words come back as the tool's result."""

    async def play() -> None:
        async with rehearsing() as visitor:
            ada, bob = await agent(visitor, "Ada"), await agent(visitor, "Bob")
            await say(visitor, ada, call(ASK, bob, "Reply with the message 'forty-two'"))
            assert await returns(visitor, ada) == [("success", "forty-two")]
            (told,) = await heard(visitor, bob)
            assert told.startswith(f"[From the agent 'Ada' ({ada}), who waits for your answer.")

    run(play())


def test_an_agent_tells_another_without_waiting(run) -> None:
    """The call returns when the message is accepted; the other does what it is told."""

    async def play() -> None:
        async with rehearsing() as visitor:
            ada, bob = await agent(visitor), await agent(visitor)
            await say(visitor, ada, call(TELL, bob, "Reply with the message 'later'"))
            assert await returns(visitor, ada) == [("success", f"The message was accepted by {bob}.")]
            assert len(await heard(visitor, bob)) == 1

    run(play())


def test_agents_are_asked_by_their_tags(run) -> None:
    """All of `match_all`, one of `match_some`, never the one who asks; nobody there is said."""

    async def play() -> None:
        async with rehearsing() as visitor:
            ada = await agent(visitor, tags=["team", "x"])
            bob, eve = await agent(visitor, tags=["team", "x"]), await agent(visitor, tags=["team", "y"])
            await agent(visitor, tags=["x"])
            words = '"message": "Reply with the message \'here\'"'
            wanted = '"match_all": ["team"], "match_some": ["x", "y"]'
            await say(visitor, ada, f"Call the {ASK_TAGS} tool with {{{words}, {wanted}}}")
            wanted = '"match_all": ["nobody"], "match_some": []'
            await say(visitor, ada, f"Call the {ASK_TAGS} tool with {{{words}, {wanted}}}")
            asked, nobody = await returns(visitor, ada)
            assert asked == ("success", f"{bob} answered: here\n\n{eve} answered: here")
            assert nobody == ("error", "There is no other agent to whom it could be sent, so nothing was.")

    run(play())


def test_too_many_agents_are_not_asked(run) -> None:
    """More than AGENTS_ADDRESSED_MAX: none of them hears anything."""

    async def play() -> None:
        async with rehearsing() as visitor:
            ada = await agent(visitor)
            crowd = [await agent(visitor, tags=["crowd"]) for _ in range(AGENTS_ADDRESSED_MAX + 1)]
            wanted = '"message": "m", "match_all": [], "match_some": ["crowd"]'
            await say(visitor, ada, f"Call the {ASK_TAGS} tool with {{{wanted}}}")
            ((status, text),) = await returns(visitor, ada)
            assert status == "error" and f"more than {AGENTS_ADDRESSED_MAX} agents" in text
            assert await heard(visitor, crowd[0]) == []

    run(play())


def test_who_waits_is_not_asked(run) -> None:
    """Ada waits for Bob, who asks Ada: refused at once, and Ada gets Bob's answer all the same. Nor oneself."""

    async def play() -> None:
        async with rehearsing() as visitor:
            ada, bob = await agent(visitor), await agent(visitor)
            async with asyncio.timeout(10):
                await say(visitor, ada, call(ASK, bob, call(ASK, ada, "hello?")))
                await say(visitor, ada, call(ASK, ada, "hello?"))
            ((status, text),) = await returns(visitor, bob)
            assert status == "error" and "waits for an answer to which you contribute" in text
            assert [status for status, _ in await returns(visitor, ada)] == ["success", "error"]
            assert len(await heard(visitor, ada)) == 2, "only what the test said"

    run(play())


def test_a_chain_of_messages_has_an_end(run) -> None:
    """Two agents that tell each other to tell each other stop; nothing of it is a cycle, since nobody waits."""

    async def play() -> None:
        async with rehearsing() as visitor:
            ada, bob = await agent(visitor), await agent(visitor)
            door, house = visitor.node.house.door, visitor.node.house
            run_id = RunId("run-00000000-0000-4000-8000-000000000001")
            await say(visitor, ada, "Reply with the message 'x'")
            (mine,) = await door.list_runs(AgentId(ada), limit=1)
            options = RunOptions(hops=CALL_CHAIN_MAX - 1)
            await _store(visitor, mine, run_id, options)
            tool = await house.tools.find_named(TELL)
            request = _request(ada, run_id, tool, f'{{"message": "m", "other_agent_id": "{bob}"}}')
            with pytest.raises(LimitExceeded, match="without a person in between"):
                await house.tools.call(request)
            assert await heard(visitor, bob) == []

    run(play())


def test_the_same_call_again_gets_the_same_answer(run) -> None:
    """What a node does after a crash in the middle of the call: no second message, the first answer."""

    async def play() -> None:
        async with rehearsing() as visitor:
            ada, bob = await agent(visitor), await agent(visitor)
            await say(visitor, ada, "Reply with the message 'x'")
            (mine,) = await visitor.node.house.door.list_runs(AgentId(ada), limit=1)
            tool = await visitor.node.house.tools.find_named(ASK)
            arguments = f'{{"message": "Reply with the message \'once\'", "other_agent_id": "{bob}"}}'
            request = _request(ada, mine.id, tool, arguments)
            outcomes = [await visitor.node.house.tools.call(request) for _ in range(3)]
            assert [outcome.text for outcome in outcomes] == ["once"] * 3
            assert len(await heard(visitor, bob)) == 1

    run(play())


def test_who_is_asked_for_somebody_has_less_time(run) -> None:
    """No time left is said before anything is sent; an answer that takes too long is not waited for."""

    async def play() -> None:
        async with rehearsing() as visitor:
            ada, bob = await agent(visitor), await agent(visitor)
            await say(visitor, ada, "Reply with the message 'x'")
            (mine,) = await visitor.node.house.door.list_runs(AgentId(ada), limit=1)
            house, now_ms = visitor.node.house, await visitor.node.house.records.store.now_ms()
            tool = await house.tools.find_named(ASK)
            late, short = (RunId(f"run-00000000-0000-4000-8000-00000000000{number}") for number in (1, 2))
            await _store(visitor, mine, late, RunOptions(answer_by_ms=now_ms + 1_000))
            await _store(visitor, mine, short, RunOptions(answer_by_ms=now_ms + 2_600))
            arguments = f'{{"message": "Reply with the message \'y\'", "other_agent_id": "{bob}"}}'
            with pytest.raises(CallTimedOut):
                await house.tools.call(_request(ada, late, tool, arguments))
            visitor.models.gate = asyncio.Event()
            outcome = await house.tools.call(_request(ada, short, tool, arguments))
            visitor.models.gate.set()
            assert not outcome.ok and "has the message but did not answer" in outcome.text

    run(play())


def test_an_agent_that_is_not_there_is_said(run) -> None:
    """As a result that the model can read."""

    async def play() -> None:
        async with rehearsing() as visitor:
            ada = await agent(visitor)
            await say(visitor, ada, call(ASK, "agent-00000000-0000-4000-8000-000000000000", "hi"))
            await say(visitor, ada, call(TELL, "Bob", "hi"))
            (_, unknown), (_, malformed) = await returns(visitor, ada)
            assert "not found" in unknown and "not an id" in malformed

    run(play())


def _request(agent_id: str, run_id: RunId, tool: Tool, arguments: str) -> ToolRequest:
    return ToolRequest(
        agent_id=AgentId(agent_id),
        run_id=run_id,
        step_id=StepId("step-00000000-0000-4000-8000-000000000001"),
        call_id="call_1",
        tool=tool,
        arguments=Raw(arguments.encode()),
    )


async def _store(visitor: Visitor, like: Run, run_id: RunId, options: RunOptions) -> None:
    batch = Batch()
    batch.put(RUNS.at(run_id), msgspec.structs.replace(like, id=run_id, options=options))
    await visitor.node.house.records.commit(batch)
