"""Groups talk by their rules; helpers in the background are told; whoever is gone leaves its groups."""

import asyncio
from typing import Any

from kelpie.agent.group_talk import Talk, TalkTurn, chooses, chosen, next_speaker
from kelpie.agent.groups import Group
from kelpie.agent.state import InputMessage
from kelpie.ids import AgentId, RunId
from kelpie.llm.messages import TextPart
from tests.unit.agent.rehearsing import heard, rehearsing, say
from tests.unit.api.knocking import Visitor

A, B, M = AgentId("agent-a"), AgentId("agent-b"), AgentId("agent-m")


def group(pattern: Any, **fields: Any) -> Group:
    manager = {} if pattern == "round_robin" else {"manager_id": M}
    return Group(id="group-1", created_at_us=1, pattern=pattern, agent_ids=(A, B), description="d", **manager, **fields)


def talk(*, told: bool = False) -> Talk:
    said = () if told else (InputMessage(kind="user", parts=(TextPart(text="hi"),)),)
    return Talk(id="t", number=1, input=said, steps_max=5, created_at_us=1)


def turn(agent_id: AgentId, text: str = "", *, choice: bool = False) -> TalkTurn:
    return TalkTurn(agent_id=agent_id, name="n", run_id=RunId("run-1"), text=text, choice=choice)


def play_out(one: Group, which: Talk, says: list[str]) -> list[tuple[AgentId, bool]]:
    """Who speaks in which order, until it is over or nobody has a word left."""
    turns: list[TalkTurn] = []
    for text in says:
        speaker = next_speaker(one, which, turns)
        if speaker is None:
            break
        turns.append(turn(speaker, text, choice=chooses(one, which, turns)))
    return [(each.agent_id, each.choice) for each in turns]


def test_members_speak_in_their_order() -> None:
    """Once each, or as often as max_turns says."""
    assert play_out(group("round_robin"), talk(), ["x"] * 9) == [(A, False), (B, False)]
    assert play_out(group("round_robin", max_turns=3), talk(), ["x"] * 9) == [(A, False), (B, False), (A, False)]


def test_a_leader_chooses_until_it_ends_the_talk() -> None:
    """By id; by the token; somebody it does not name is the next in order; max_turns bounds it."""
    said = [f"I think {B}.", "b speaks", A, "a speaks", "DONE!"]
    assert play_out(group("dynamic", max_turns=9), talk(), said) == [
        (M, True), (B, False), (M, True), (A, False), (M, True),
    ]  # fmt: skip
    assert play_out(group("dynamic", max_turns=1), talk(), ["nobody", "x", "y"]) == [(M, True), (A, False)]
    assert chosen(group("dynamic", termination_token="END"), "END", 0) is None


def test_a_supervisor_answers_alone_and_others_are_told_in_turn() -> None:
    """One turn of the manager; of what is told every member hears."""
    assert play_out(group("supervisor"), talk(), ["x"] * 3) == [(M, False)]
    assert play_out(group("sleeptime"), talk(), ["x"] * 3) == [(M, False)]
    assert play_out(group("sleeptime"), talk(told=True), ["x"] * 3) == [(A, False), (B, False)]


async def until(visitor: Visitor, look: Any, enough: Any) -> Any:
    seen = None
    for _ in range(200):
        seen = await look()
        if enough(seen):
            return seen
        await asyncio.sleep(0.05)
    raise AssertionError(f"still {seen}")


def test_a_round_of_agents_hears_each_other(run) -> None:
    """Each is told what the others said since its last turn; the answer holds what all of them said."""

    async def play() -> None:
        async with rehearsing() as visitor:
            one, two = [(await visitor.agent(name=name))["id"] for name in ("Ada", "Bob")]
            made = await visitor.ok("POST", "/v1/groups/", {"agent_ids": [one, two], "description": "d"})
            path = f"/v1/groups/{made['id']}/messages"
            asked = {"messages": [{"role": "user", "content": "Reply with the message 'hello'"}]}
            answer = await visitor.ok("POST", path, asked, headers={"Idempotency-Key": "k"})
            assert [each["content"] for each in answer["messages"]] == ["hello", "hello"]
            again = await visitor.ok("POST", path, asked, headers={"Idempotency-Key": "k"})
            assert again == answer
            assert await heard(visitor, one) == ["Reply with the message 'hello'"]
            assert await heard(visitor, two) == [
                "Reply with the message 'hello'", f"[Ada ({one}) said:]\nhello"
            ]  # fmt: skip
            listed = await visitor.ok("GET", path, query={"order": "asc"})
            assert [each["message_type"] for each in listed] == ["user_message"] + ["assistant_message"] * 2
            assert await visitor.ok("PATCH", f"/v1/groups/{made['id']}/reset-messages") is None
            assert await visitor.ok("GET", path) == []

    run(play())


def test_a_supervisor_asks_its_group(run) -> None:
    """It is given the tool for it with the group."""

    async def play() -> None:
        async with rehearsing() as visitor:
            boss, one = [(await visitor.agent(name=name))["id"] for name in ("Boss", "One")]
            how = {"manager_type": "supervisor", "manager_agent_id": boss}
            body = {"agent_ids": [one], "description": "d", "manager_config": how}
            made = await visitor.ok("POST", "/v1/groups/", body)
            words = 'Call the send_message_to_all_agents_in_group tool with {"message": "Reply with the text \'yes\'"}'
            said = {"messages": [{"role": "user", "content": words}]}
            answer = await visitor.ok("POST", f"/v1/groups/{made['id']}/messages", said)
            returned = [each for each in answer["messages"] if each["message_type"] == "tool_return_message"]
            assert returned[0]["tool_return"] == f"{one} answered: yes"

    run(play())


def test_a_second_agent_is_told_what_was_said(run) -> None:
    """At the first turn and then at every fifth, each time what it does not know; its edits are the agent's."""

    async def play() -> None:
        async with rehearsing() as visitor:
            agent = await visitor.agent(enable_sleeptime=True)
            managed = agent["managed_group"]
            assert (managed["manager_type"], managed["turns_counter"]) == ("sleeptime", -1)
            (helper,) = managed["agent_ids"]
            assert [block["label"] for block in (await visitor.ok("GET", f"/v1/agents/{helper}"))["blocks"]] == [
                "memory_persona", "human",
            ]  # fmt: skip

            async def told() -> list[str]:
                return await heard(visitor, helper)

            await say(visitor, agent["id"], "Reply with the message 'n0'")
            await until(visitor, told, lambda seen: len(seen) == 1)
            for number in range(1, 6):
                await say(visitor, agent["id"], f"Reply with the message 'n{number}'")
            first, second = await until(visitor, told, lambda seen: len(seen) == 2)
            assert "n0" in first and "n0" not in second and "n5" in second

            group = await visitor.ok("GET", f"/v1/groups/{managed['id']}")
            assert group["turns_counter"] == 0 and group["last_processed_message_id"]
            blocks = (await visitor.ok("GET", f"/v1/agents/{agent['id']}"))["blocks"]
            assert blocks[0] in (await visitor.ok("GET", f"/v1/agents/{helper}"))["blocks"]
            await visitor.ok("DELETE", f"/v1/agents/{agent['id']}")
            assert (await visitor.call("GET", f"/v1/agents/{helper}")).status == 404
            assert (await visitor.call("GET", f"/v1/groups/{managed['id']}")).status == 404

    run(play())


def test_who_is_gone_leaves_its_groups(run) -> None:
    """A member is taken out; with its manager the group goes; nothing of it stays."""

    async def play() -> None:
        async with rehearsing() as visitor:
            boss, one, two = [(await visitor.agent())["id"] for _ in range(3)]
            how = {"manager_type": "dynamic", "manager_agent_id": boss}
            body = {"agent_ids": [one, two], "description": "d", "manager_config": how}
            made = await visitor.ok("POST", "/v1/groups/", body)
            await visitor.ok("DELETE", f"/v1/agents/{one}")

            async def members() -> Any:
                reply = await visitor.call("GET", f"/v1/groups/{made['id']}")
                return reply.json.get("agent_ids", "gone")

            await until(visitor, members, lambda seen: seen == [two])
            await visitor.ok("DELETE", f"/v1/agents/{boss}")
            await until(visitor, members, lambda seen: seen == "gone")
            assert await visitor.ok("GET", f"/v1/agents/{two}/groups") == []

    run(play())


def test_an_answer_that_ends_a_turn_at_once_is_counted_too(run) -> None:
    """The client runs the tool itself, and a rule ends the turn with it: the turn ends with the answer's acceptance."""

    async def play() -> None:
        async with rehearsing() as visitor:
            ends = [{"type": "exit_loop", "tool_name": "weather"}]
            agent = await visitor.agent(enable_sleeptime=True, tool_rules=ends)
            path, tool = f"/v1/agents/{agent['id']}/messages", {"name": "weather", "parameters": {"type": "object"}}
            asked = {"messages": [{"role": "user", "content": "Call the weather tool"}], "client_tools": [tool]}
            (request,) = [
                each
                for each in (await visitor.ok("POST", path, asked))["messages"]
                if each["message_type"] == "approval_request_message"
            ]
            call_id = request["tool_calls"][0]["tool_call_id"]
            returned = {"type": "tool", "tool_call_id": call_id, "tool_return": "rain", "status": "success"}
            answer = await visitor.ok("POST", path, {"messages": [{"type": "approval", "approvals": [returned]}]})
            assert answer["stop_reason"]["stop_reason"] == "tool_rule"

            async def counted() -> int:
                return (await visitor.ok("GET", f"/v1/groups/{agent['managed_group']['id']}"))["turns_counter"]

            await until(visitor, counted, lambda seen: seen == 1)

    run(play())
