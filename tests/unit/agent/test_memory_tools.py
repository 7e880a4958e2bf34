"""The memory tools: every edit and every refusal, edits that see each other, one commit, and the official client."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from msgspec import Raw

from kelpie.agent.block_set import BlockSet
from kelpie.agent.memory_tools import (
    MEMORY_TOOLS,
    MemoryDesk,
    MemoryEdit,
    MemorySession,
    memory_server,
    put_edits,
    use_memory_tool,
)
from kelpie.errors import Conflict, StoreDown
from kelpie.ids import AgentId, RunId, StepId
from kelpie.limits import BLOCK_CHARS_MAX
from kelpie.llm.messages import ToolReturnPart
from kelpie.memory.blocks import Block, BlockChanges
from kelpie.memory.history import History, HistoryHits, HistoryQuery, append
from kelpie.storage.records import Batch, Found, Records
from kelpie.tools.tool import ToolOutcome, ToolRequest
from tests.unit.memory.build import AGENT, START_US, a_block, a_message, a_store, a_world, some_blocks
from tests.unit.tools.test_mcp_server import connected

TOOLS = {tool.name: tool for tool in MEMORY_TOOLS}
LATER_US = START_US + 60_000_000


async def _no_search(query: HistoryQuery) -> HistoryHits:
    return HistoryHits(messages=(), searched=0, complete=True)


def _nowhere():
    """Where there is no agent."""
    return Records(a_store()), a_world()[0], AGENT


def _desk(*blocks: Block, search=_no_search) -> MemoryDesk:
    founds = {block.label: Found(f"block {block.id}".encode(), block, 7) for block in blocks}
    return MemoryDesk(blocks=founds, block_set=BlockSet(*_nowhere()), search=search, now_us=LATER_US)


def _use(desk: MemoryDesk, name: str, **arguments: object) -> tuple[ToolOutcome, list[MemoryEdit]]:
    request = ToolRequest(
        agent_id=AgentId("agent"),
        run_id=RunId("run"),
        step_id=StepId("step"),
        call_id="call",
        tool=TOOLS[name],
        arguments=Raw(msgspec.json.encode(arguments)),
    )
    return asyncio.run(use_memory_tool(memory_server(), request, desk))


EDITS = [
    ("memory_insert", "H2", {"new_string": "likes tea"}, "H2\nlikes tea"),
    ("memory_insert", "", {"new_string": "first"}, "first"),
    ("memory_insert", "a\nb", {"new_string": "x", "insert_line": 0}, "x\na\nb"),
    ("memory_insert", "a\nb", {"new_string": "x\ny", "insert_line": 1}, "a\nx\ny\nb"),
    ("memory_insert", "a\nb", {"new_string": "x", "insert_line": 2.0}, "a\nb\nx"),
    ("memory_insert", "a\n", {"new_string": "x", "insert_line": -1}, "a\n\nx"),
    ("memory_replace", "a b c", {"old_string": "b", "new_string": "bb"}, "a bb c"),
    ("memory_replace", "a b c", {"old_string": " b", "new_string": ""}, "a c"),
    ("memory_rethink", "a", {"new_memory": "b"}, "b"),
    ("memory_rethink", "a", {"new_memory": ""}, ""),
    ("core_memory_append", "a", {"content": "b"}, "a\nb"),
    ("core_memory_append", "", {"content": "b"}, "b"),
    ("core_memory_replace", "a b", {"old_content": "a", "new_content": "x"}, "x b"),
]


@pytest.mark.parametrize(("name", "before", "arguments", "after"), EDITS)
def test_edit_answers_with_the_new_value_and_the_edited_block(name, before, arguments, after):
    """The block as it was read, for the check; the block as it shall be, with the time of the edit."""
    desk = _desk(a_block("persona", "me"), a_block("human", before, description="d"))
    outcome, edits = _use(desk, name, label="human", **arguments)
    found = desk.blocks["human"]
    edited = msgspec.structs.replace(found.value, value=after, updated_at_us=LATER_US)
    assert outcome == ToolOutcome(text=after)
    assert edits == [MemoryEdit(found=found, block=edited)]


def test_edit_that_changes_nothing_writes_nothing():
    """It succeeds all the same."""
    assert _use(_desk(a_block("human", "a")), "memory_rethink", label="human", new_memory="a") == (
        ToolOutcome(text="a"),
        [],
    )


MISTAKES = [
    (
        "memory_insert",
        {"label": "humam", "new_string": "x"},
        "You have no memory block with the label 'humam'. The labels of your blocks: human, rules.",
    ),
    (
        "memory_rethink",
        {"label": "rules", "new_memory": "x"},
        "The block 'rules' is read-only: you cannot edit it. Use another block.",
    ),
    (
        "memory_insert",
        {"label": "human", "new_string": "x", "insert_line": 3},
        "The block 'human' has 2 lines, so nothing can be inserted after line 3."
        " Use a number from 0 to 2, or -1 for the end.",
    ),
    (
        "memory_replace",
        {"label": "human", "old_string": "zebra", "new_string": "x"},
        "The block 'human' does not contain that text, so nothing was replaced. Copy it exactly as it stands in the"
        " block.",
    ),
    (
        "core_memory_replace",
        {"label": "human", "old_content": "tea", "new_content": "x"},
        "The block 'human' contains that text 2 times, so nothing was replaced. Include more of the text around it.",
    ),
    (
        "memory_replace",
        {"label": "human", "old_string": "", "new_string": "x"},
        "The text to replace is empty. To add text, insert it instead.",
    ),
    (
        "core_memory_append",
        {"label": "human", "content": "x" * 100},
        "The block 'human' may have 50 characters and would have 113, so it was not changed."
        " Leave out 63 characters, or shorten what is there first.",
    ),
    (
        "memory_insert",
        {"label": "human"},
        "memory_insert was not called: the arguments object lacks the required 'new_string'.",
    ),
    ("conversation_search", {"limit": 0}, "limit is 0; use a number from 1 to 50."),
    ("conversation_search", {"limit": 51}, "limit is 51; use a number from 1 to 50."),
    ("conversation_search", {"query": "x" * 1_001}, "The query has 1001 characters; use at most 1000."),
    (
        "conversation_search",
        {"query": "tea", "roles": [], "limit": 1, "start_date": "tea", "end_date": "hello"},
        "start_date is 'tea', which is no date. Write it as YYYY-MM-DD or YYYY-MM-DDTHH:MM.",
    ),
    (
        "conversation_search",
        {"end_date": "2024-13-01"},
        "end_date is '2024-13-01', which is no date. Write it as YYYY-MM-DD or YYYY-MM-DDTHH:MM.",
    ),
    (
        "conversation_search",
        {"roles": ["system"]},
        'conversation_search was not called: \'roles[0]\' must be one of ["assistant","user","tool"], not "system".',
    ),
]


@pytest.mark.parametrize(("name", "arguments", "sentence"), MISTAKES)
def test_mistake_is_told_with_what_to_do_and_changes_nothing(name, arguments, sentence):
    """Each mistake that a model can make has its own sentence."""
    desk = _desk(a_block("human", "tea\nmore tea", limit_chars=50), a_block("rules", "r", read_only=True))
    assert _use(desk, name, **arguments) == (ToolOutcome(text=sentence, ok=False), [])


def test_agent_without_blocks_is_told_so():
    """There is no label to name."""
    outcome, _ = _use(_desk(), "memory_rethink", label="x", new_memory="y")
    assert outcome.text.endswith("The labels of your blocks: none.")


def test_block_over_its_limit_may_be_made_shorter():
    """A person exceeded it; the agent is not trapped, but may not add."""
    block = msgspec.structs.replace(a_block("human", limit_chars=3), value="abcdef")
    assert _use(_desk(block), "memory_rethink", label="human", new_memory="abcde")[0].ok
    assert not _use(_desk(block), "memory_rethink", label="human", new_memory="ghijkl")[0].ok


def test_value_that_no_record_could_hold_is_refused():
    """Characters that take six bytes each pass the block's limit and not the record's."""
    block = a_block("human", limit_chars=BLOCK_CHARS_MAX)
    full = msgspec.structs.replace(block, value="\0" * 120_000)
    outcome, edits = _use(_desk(full), "core_memory_append", label="human", content="\0" * 16_000)
    assert (outcome.text, edits) == (
        "The block 'human' was not changed: value: 816002 bytes are over the limit of 800000. Write less.",
        [],
    )


def test_calls_of_one_step_see_each_other(run):
    """Each call works on what the former left; the commit writes each block once, as the last left it."""

    async def check() -> None:
        blocks, records, _ = some_blocks()
        human = await blocks.store(blocks.build(label="human", value="a"))
        persona = await blocks.store(blocks.build(label="persona", value="me"))
        founds = {block.label: await blocks.get(block.id) for block in (human, persona)}
        desk = MemoryDesk(blocks=founds, block_set=BlockSet(*_nowhere()), search=_no_search, now_us=LATER_US)
        server, edits = memory_server(), []
        for label, content in (("human", "b"), ("persona", "too"), ("human", "c")):
            arguments = Raw(msgspec.json.encode({"label": label, "content": content}))
            request = ToolRequest(
                agent_id=AgentId("agent"),
                run_id=RunId("run"),
                step_id=StepId("step"),
                call_id="call",
                tool=TOOLS["core_memory_append"],
                arguments=arguments,
            )
            _, made = await use_memory_tool(server, request, desk)
            desk = desk.with_edits(made)
            edits.extend(made)
        batch = Batch()
        put_edits(batch, edits)
        assert len(batch.checks) == 2
        await records.commit(batch)
        after = await blocks.get(human.id)
        assert (after.value.value, (await blocks.get(persona.id)).value.value) == ("a\nb\nc", "me\ntoo")

    run(check())


def test_edit_loses_against_another_and_is_made_again_on_top(run):
    """The version that was read is checked: nothing that somebody else wrote is overwritten."""

    async def check() -> None:
        blocks, records, _ = some_blocks()
        block = await blocks.store(blocks.build(label="shared", value="a"))
        founds = {"shared": await blocks.get(block.id)}
        session = MemorySession(
            MemoryDesk(blocks=founds, block_set=BlockSet(*_nowhere()), search=_no_search, now_us=LATER_US)
        )
        assert session.write("shared", "mine").ok
        await blocks.update(block.id, BlockChanges(value="theirs"))
        batch = Batch()
        put_edits(batch, session.edits)
        with pytest.raises(Conflict):
            await records.commit(batch)
        assert (await blocks.get(block.id)).value.value == "theirs"

    run(check())


async def _search_of(*messages):
    records = Records(a_store())
    batch = Batch()
    for message in messages:
        append(batch, message)
    await records.commit(batch)
    history = History(records)

    async def search(query: HistoryQuery) -> HistoryHits:
        return await history.search(AGENT, query)

    return search


DAY_US = 86_400_000_000
MIDNIGHT_US = START_US - START_US % DAY_US  # of 2023-11-14


def _days():
    """One message at noon of each of three days, and the last microsecond of the second."""
    return (
        a_message(0, "user", "tea on the 14th", created_at_us=MIDNIGHT_US + DAY_US // 2),
        a_message(1, "assistant", "tea on the 15th", created_at_us=MIDNIGHT_US + DAY_US * 3 // 2),
        a_message(2, "user", "tea late", created_at_us=MIDNIGHT_US + DAY_US * 2 - 1),
        a_message(3, "tool", "tea on the 16th", created_at_us=MIDNIGHT_US + DAY_US * 5 // 2),
    )


@pytest.mark.parametrize(
    ("arguments", "seqs"),
    [
        ({"query": "tea"}, [3, 2, 1, 0]),
        ({}, [3, 2, 1, 0]),
        ({"query": "tea", "limit": None, "roles": None, "start_date": "", "end_date": None}, [3, 2, 1, 0]),
        ({"query": "TEA the", "roles": ["user"]}, [0]),
        ({"roles": ["user", "tool"]}, [3, 2, 0]),
        ({"start_date": "2023-11-15"}, [3, 2, 1]),
        ({"end_date": "2023-11-15"}, [2, 1, 0]),
        ({"start_date": "2023-11-15T12:00", "end_date": "2023-11-15T12:00"}, [1]),
        ({"start_date": "2023-11-15T12:01"}, [3, 2]),
        ({"start_date": "2023-11-15T14:00+02:00", "end_date": "2023-11-15T12:00Z"}, [1]),
        ({"query": "coffee"}, []),
    ],
)
def test_search_filters_by_words_roles_and_inclusive_dates(run, arguments, seqs):
    """Dates are UTC days or moments; what is null or empty does not filter."""
    messages = _days()
    outcome, edits = _use(_desk(search=run(_search_of(*messages))), "conversation_search", **arguments)
    told = msgspec.json.decode(outcome.text)
    texts = {message.seq: message.parts[0].text for message in messages}
    assert (outcome.ok, edits, told["count"]) == (True, [], len(seqs))
    assert [hit["content"] for hit in told["results"]] == [texts[seq] for seq in seqs]


def test_search_result_in_full(run):
    """Time, role and content; and a note when older messages were not searched."""
    search = run(_search_of(*_days()))
    outcome, _ = _use(_desk(search=search), "conversation_search", query="tea", limit=1)
    assert msgspec.json.decode(outcome.text) == {
        "results": [{"timestamp": "2023-11-16T12:00:00+00:00", "role": "tool", "content": "tea on the 16th"}],
        "count": 1,
        "note": "Older messages were not searched; 1 were. To go on, give an earlier end_date.",
    }


def test_long_hit_is_shown_around_the_word(run):
    """And says how much is shown."""
    long = ToolReturnPart(call_id="a", name="read", text="x" * 20_000 + " needle " + "y" * 20_000, ok=True)
    search = run(_search_of(a_message(0, "tool", parts=(long,))))
    outcome, _ = _use(_desk(search=search), "conversation_search", query="needle")
    content = msgspec.json.decode(outcome.text)["results"][0]["content"]
    assert " needle " in content and len(content) < 5_100
    assert content.endswith(" [... clipped: 5000 of 40008 characters are shown, from 18335 on]")


def test_search_that_cannot_reach_the_store_is_not_an_outcome():
    """It is the runtime's trouble, not the model's."""

    async def down(query: HistoryQuery) -> HistoryHits:
        raise StoreDown("away")

    with pytest.raises(StoreDown):
        _use(_desk(search=down), "conversation_search")


ARGUMENTS = st.dictionaries(
    st.sampled_from(["label", "new_string", "old_string", "insert_line", "new_memory", "content", "query", "roles",
                     "limit", "start_date", "end_date", "old_content", "new_content"]),
    st.one_of(st.none(), st.integers(-3, 60), st.floats(allow_nan=False, allow_infinity=False), st.booleans(),
              st.text(max_size=12), st.sampled_from(["human", "tea", "a\nb", "2023-11-14", "0001-01-01T00:00+23:59"]),
              st.lists(st.sampled_from(["user", "tool", "x"]), max_size=2)),
    max_size=6,
)  # fmt: skip


@given(st.sampled_from(sorted(TOOLS)), ARGUMENTS)
def test_no_arguments_break_a_tool(name, arguments):
    """Whatever a model writes: an outcome, within the block's limit, and no edit when it failed."""
    desk = _desk(a_block("human", "tea\nmore", limit_chars=20))
    outcome, edits = _use(desk, name, **arguments)
    assert outcome.ok or not edits
    assert all(len(edit.block.value) <= 20 and edit.block.value == outcome.text for edit in edits)


def test_what_is_said_and_done_is_answered_and_changes_nothing():
    desk = _desk(a_block("human", "tea"))
    for name, arguments, ok in (
        ("send_message", {"message": "hi"}, True),
        ("send_message", {"message": " "}, False),
        ("memory_finish_edits", {}, True),
        ("finish_rethinking_memory", {}, True),
    ):
        outcome, edits = _use(desk, name, **arguments)
        assert (outcome.ok, edits) == (ok, [])
    outcome, edits = _use(desk, "rethink_user_memory", new_memory="mate")
    assert (outcome.text, [edit.block.value for edit in edits]) == ("mate", ["mate"])


def test_tools_are_declared_as_clients_know_them():
    """Names, arguments and required ones as in 0.16.8; the hints tell the truth; ids are those of the names."""
    shown = {}
    for tool in MEMORY_TOOLS:
        schema = msgspec.json.decode(tool.parameters)
        shown[tool.name] = (list(schema["properties"]), schema["required"], tool.kind, tool.read_only, tool.idempotent)
    search = ["query", "roles", "limit", "start_date", "end_date"]
    omni = ["command", "path", "file_text", "description", "old_string", "new_string", "insert_line", "insert_text"]
    omni += ["old_path", "new_path"]
    assert shown == {
        "memory_insert": (["label", "new_string", "insert_line"], ["label", "new_string"], "sleeptime", False, False),
        "memory_replace": (["label", "old_string", "new_string"],) * 2 + ("sleeptime", False, False),
        "memory_rethink": (["label", "new_memory"],) * 2 + ("sleeptime", False, True),
        "memory": (omni, ["command"], "memory_core", False, False),
        "memory_apply_patch": (["label", "patch"],) * 2 + ("memory_core", False, False),
        "core_memory_append": (["label", "content"],) * 2 + ("memory_core", False, False),
        "core_memory_replace": (["label", "old_content", "new_content"],) * 2 + ("memory_core", False, False),
        "conversation_search": (search, [], "core", True, True),
        "send_message": (["message"], ["message"], "core", False, False),
        "memory_finish_edits": ([], [], "sleeptime", False, True),
        "rethink_user_memory": (["new_memory"], ["new_memory"], "voice_sleeptime", False, False),
        "finish_rethinking_memory": ([], [], "voice_sleeptime", False, True),
    }
    assert len({tool.id for tool in MEMORY_TOOLS}) == len(MEMORY_TOOLS)


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_official_mcp_client_uses_the_memory_tools(run, mode):
    """Listed with hints; edits of one connection see each other."""

    async def check() -> None:
        session = MemorySession(_desk(a_block("human", "H2")))
        async with Client(connected(memory_server(), session), mode=mode) as client:
            listed = (await client.list_tools()).tools
            assert [tool.name for tool in listed] == [tool.name for tool in MEMORY_TOOLS]
            hints = {tool.name: (tool.annotations.read_only_hint, tool.annotations.destructive_hint) for tool in listed}
            assert hints["conversation_search"] == (True, False)
            assert hints["memory_insert"] == (False, False)
            assert hints["memory_rethink"] == (False, True)
            first = await client.call_tool("memory_insert", {"label": "human", "new_string": "likes tea"})
            assert [block.text for block in first.content] == ["H2\nlikes tea"]
            again = await client.call_tool(
                "memory_replace", {"label": "human", "old_string": "tea", "new_string": "mate"}
            )
            assert [block.text for block in again.content] == ["H2\nlikes mate"]
            assert (await client.call_tool("memory_insert", {"label": "nobody", "new_string": "x"})).is_error
        assert [edit.block.value for edit in session.edits] == ["H2\nlikes tea", "H2\nlikes mate"]

    run(check())
