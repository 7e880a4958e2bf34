"""Goal: an agent with a voice finds again what its helper kept of their talk, and nothing is kept twice.

Method: the numbered lines by themselves; then a node whose agents follow scripts, which the helper finds in what it is
told.
"""

import json
from typing import Any

import pytest

from kelpie.agent.voice_tools import number_lines, read_numbered
from kelpie.limits import VOICE_KEYWORDS_MAX
from tests.unit.agent.rehearsing import rehearsing, returns, say
from tests.unit.agent.test_group_talk import until
from tests.unit.api.knocking import Visitor


@pytest.mark.parametrize(
    ("texts", "before", "after"),
    [
        ([], "", ""),
        (["user: hi", "assistant: ho"], "[told]\n\n", ""),
        (["user: one\n\n7. two\n    three", "x"], "9 lives\n", "\nend"),
    ],
)
def test_numbered_lines_are_read_as_they_were_written(texts: list[str], before: str, after: str) -> None:
    """Whatever stands in them and around them."""
    assert read_numbered(before + "\n".join(number_lines(texts)) + after) == dict(enumerate(texts))


def test_lines_that_others_numbered_are_read() -> None:
    """A heading between them belongs to none of them."""
    told = "(Older)\n0. user: hi\n1. assistant: ho\n\n(Newer)\n2. user: tea"
    assert read_numbered(told) == {0: "user: hi", 1: "assistant: ho", 2: "user: tea"}


def chunk(first: int, last: int, context: str) -> dict[str, Any]:
    return {"start_index": first, "end_index": last, "context": context}


def store(*chunks: dict[str, Any]) -> str:
    return f"Call the store_memories tool with {json.dumps({'chunks': chunks})}"


async def kept(visitor: Visitor, agent_id: str) -> list[str]:
    found = await visitor.ok("GET", f"/v1/agents/{agent_id}/archival-memory", query={"order": "asc"})
    return [one["text"] for one in found]


def test_what_is_kept_for_the_talker_is_found_by_it(run) -> None:
    """By the numbers of the lines that it was told; the talker searches with what the user said last."""

    async def play() -> None:
        async with rehearsing() as visitor:
            agent = await visitor.agent(agent_type="voice_convo_agent", enable_sleeptime=True)
            assert [tool["name"] for tool in agent["tools"]] == ["send_message", "search_memory"]
            group = agent["managed_group"]
            (helper,) = group["agent_ids"]
            made = await visitor.ok("GET", f"/v1/agents/{helper}")
            assert "store_memories" in [tool["name"] for tool in made["tools"]]
            how = {"manager_type": "voice_sleeptime", "max_message_buffer_length": 3, "min_message_buffer_length": 1}
            await visitor.ok(
                "PATCH", f"/v1/groups/{group['id']}", {"manager_config": {**how, "manager_agent_id": agent["id"]}}
            )
            await say(visitor, agent["id"], f"My cat is called Mog. {store(chunk(0, 0, 'The name of the cat.'))}")
            texts = await until(visitor, lambda: kept(visitor, agent["id"]), lambda seen: seen)
            assert texts[0].startswith("The name of the cat.\n\nuser: My cat is called Mog. Call the store_memories")
            assert await kept(visitor, helper) == []

            asked = (
                'Cat? Call the search_memory tool with {"convo_keyword_queries": ["mog", "dog"], "end_minutes_ago": 9}'
            )
            await say(visitor, agent["id"], asked)
            status, told = (await returns(visitor, agent["id"]))[-1]
            answer = json.loads(told)
            assert status == "success" and len(answer["archival_search_results"]) == len(texts)
            assert "Mog" in answer["archival_search_results"][0]["content"]
            assert list(answer["convo_keyword_search_results"]) == ["mog"]

    run(play())


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (store(), "There are 0 chunks; hand over 1 to"),
        (store(chunk(0, 0, "c")), "there are no numbered lines"),
        (f"0. user: hi\n1. user: ho\n\n{store(chunk(0, 1, 'c'), chunk(1, 2, 'd'))}", "no lines 1 to 2"),
        (f"0. user: hi\n1. user: ho\n\n{store(chunk(1, 0, 'c'))}", "have the numbers 0 to 1"),
        (
            'Call the search_memory tool with {"convo_keyword_queries": ["'
            + '","'.join("x" * (VOICE_KEYWORDS_MAX + 1))
            + '"]}',
            "Use at most 20 keywords",
        ),
        ('Call the search_memory tool with {"convo_keyword_queries": ["' + "x" * 1_001 + '"]}', "1000 characters each"),
    ],
)
def test_what_cannot_be_kept_is_told(run, told: str, sentence: str) -> None:
    """Nothing at all is kept then."""

    async def play() -> None:
        async with rehearsing() as visitor:
            agent = await visitor.agent(tools=["store_memories", "search_memory"], include_base_tools=False)
            await say(visitor, agent["id"], told)
            (returned,) = await returns(visitor, agent["id"])
            assert returned[0] == "error" and sentence in returned[1]
            assert await kept(visitor, agent["id"]) == []

    run(play())


def test_an_agent_on_its_own_keeps_for_itself(run) -> None:
    """Lines that anybody numbered; only those of the time asked for are found."""

    async def play() -> None:
        async with rehearsing() as visitor:
            agent = await visitor.agent(tools=["store_memories", "search_memory"])
            await say(visitor, agent["id"], f"0. user: tea\n1. assistant: yes\n\n{store(chunk(0, 1, 'Tea.'))}")
            assert await returns(visitor, agent["id"]) == [("success", "Kept in the archive: 1 of 1 parts.")]
            assert await kept(visitor, agent["id"]) == ["Tea.\n\nuser: tea\nassistant: yes"]
            for minutes, count in (({"start_minutes_ago": 5}, 0), ({"start_minutes_ago": 9, "end_minutes_ago": 0}, 1)):
                await say(visitor, agent["id"], f"Tea? Call the search_memory tool with {json.dumps(minutes)}")
                answer = json.loads((await returns(visitor, agent["id"]))[-1][1])
                assert len(answer["archival_search_results"]) == count and len(answer) == 1

    run(play())
