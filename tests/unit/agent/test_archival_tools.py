"""Goal: a model keeps and finds what it means to, and a call that is made again keeps nothing twice.

Method: the tools of one agent, called as a box is called, over a store in memory.
"""

import json
from typing import Any

import pytest
from msgspec import Raw

from kelpie.agent.archival import Archival
from kelpie.agent.archival_tools import archival_box
from kelpie.agent.state import AGENTS, AgentSettings
from kelpie.errors import NotFound
from kelpie.ids import AgentId, RunId, StepId
from kelpie.llm.embedding import Embeddings
from kelpie.memory.archive import Archives
from kelpie.memory.indexes import Indexes
from kelpie.memory.passages import Passages
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Records
from kelpie.tools.tool import ToolOutcome, ToolRequest
from tests.unit.memory.build import START_US, a_store, a_world

ANN = AgentId("agent-00000000-0000-4000-8000-000000000001")
ALL = Page(limit=100, newest_first=False)


class Hands:
    """The tools of one agent."""

    def __init__(self) -> None:
        records, world = Records(a_store()), a_world()[0]
        embeddings = Embeddings(None)
        archives = Archives(records, world, Passages(records, world, Indexes()), embeddings)
        self.archival = Archival(records, archives, embeddings)
        self.records = records
        self.box = archival_box(self.archival)
        self.tools = {tool.name: tool for tool in self.box.list_tools()}

    async def make(self) -> "Hands":
        batch = Batch()
        settings = AgentSettings(
            id=ANN, name="ann", kind="plain", system="", model="m", timezone="Europe/Berlin",
            created_at_us=START_US, updated_at_us=START_US,
        )  # fmt: skip
        batch.put(AGENTS.at(ANN), settings)
        await self.records.commit(batch)
        return self

    async def call(self, name: str, *, call_id: str = "call_1", **arguments: Any) -> ToolOutcome:
        request = ToolRequest(
            agent_id=ANN, run_id=RunId("run-1"), step_id=StepId("step-1"), call_id=call_id,
            tool=self.tools[f"archival_memory_{name}"], arguments=Raw(json.dumps(arguments).encode()),
        )  # fmt: skip
        return await self.box.call(request)


def test_what_is_kept_is_found(run) -> None:
    """By meaning and words, best first, with its time where the agent is."""

    async def play() -> None:
        hands = await Hands().make()
        assert (await hands.call("search", query="sky")).text == '{"results":[],"count":0}'
        for at, text in enumerate(("The sky is blue.", "We deploy on Friday.")):
            kept = await hands.call("insert", call_id=f"call_{at}", content=text, tags=[f"t{at}"])
            assert kept.ok and kept.text.startswith("Kept in your archive as passage-")
        found = json.loads((await hands.call("search", query="deployment", top_k=1)).text)
        assert found["count"] == 1
        (one,) = found["results"]
        assert (one["content"], one["tags"]) == ("We deploy on Friday.", ["t1"])
        assert one["timestamp"].startswith("2023-11-14T23:13:20") and one["timestamp"].endswith("+01:00")
        tagged = json.loads((await hands.call("search", query="deployment", tags=["t0"])).text)
        assert [one["content"] for one in tagged["results"]] == ["The sky is blue."]

    run(play())


def test_a_repeated_call_keeps_nothing_twice(run) -> None:
    """The same call has the same passage; another call of the same step has its own."""

    async def play() -> None:
        hands = await Hands().make()
        answers = {(await hands.call("insert", content="once")).text for _ in range(3)}
        assert len(answers) == 1
        await hands.call("insert", call_id="call_2", content="once")
        assert [one.text for one in await hands.archival.page(ANN, ALL, None)] == ["once", "once"]
        assert hands.tools["archival_memory_insert"].repeatable and hands.tools["archival_memory_search"].repeatable

    run(play())


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("insert", {"content": "  "}, "nothing to keep"),
        ("search", {"query": "x", "top_k": 0}, "from 1 to 50"),
        ("search", {"query": "x", "start_datetime": "soon"}, "start_datetime is 'soon', which is no date"),
    ],
)
def test_what_does_not_fit_is_said(run, name: str, arguments: dict[str, Any], words: str) -> None:
    """In a sentence that the model can act upon."""

    async def play() -> None:
        outcome = await (await Hands().make()).call(name, **arguments)
        assert not outcome.ok and words in outcome.text

    run(play())


def test_long_entries_are_clipped_and_say_so(run) -> None:
    """All of them together fit what a tool may return."""

    async def play() -> None:
        hands = await Hands().make()
        for at in range(5):
            await hands.call("insert", call_id=f"call_{at}", content=f"sky {at} " + "x" * 20_000)
        text = (await hands.call("search", query="sky")).text
        assert len(text) < 50_000
        assert "clipped: 8000 of 20006 characters are shown" in text

    run(play())


def test_an_agent_that_is_gone_has_no_archive(run) -> None:
    """Nothing is made for it."""

    async def play() -> None:
        hands = Hands()
        with pytest.raises(NotFound, match="Agent with id"):
            await hands.call("insert", content="late")
        with pytest.raises(NotFound, match="Agent with id"):
            await hands.call("search", query="late")
        assert await hands.records.store.scan(b"\0", b"\xff", limit=10) == []

    run(play())
