"""The hands on memory of agents that talk by voice: the helper keeps what was said, the talker looks it up.

The helper is told numbered lines (`number_lines`), and keeps stretches of them by their numbers: the text of a line is
always the one that it was told, read from its own history. What it keeps goes into the archive of the agent that it
works for. Both tools run in a box, outside the agent's commits, since embedding asks a provider; a call of
`store_memories` that is made again keeps nothing twice.
"""

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from kelpie.agent.archival import Archival
from kelpie.agent.archival_tools import passage_id, show_passage
from kelpie.agent.groups import Groups
from kelpie.agent.hits import excerpt
from kelpie.agent.moments import show_moment, zone_of
from kelpie.agent.state import RUNS
from kelpie.ids import AgentId, ThreadId
from kelpie.limits import (
    HISTORY_QUERY_CHARS_MAX,
    PASSAGES_PER_CALL_MAX,
    SEARCH_QUERY_CHARS_MAX,
    VOICE_KEYWORDS_MAX,
)
from kelpie.memory.archive import NewPassage, PassageQuery
from kelpie.memory.history import History, HistoryQuery, searchable_text
from kelpie.storage.records import Records
from kelpie.tools.function import ServedBox, serve_function
from kelpie.tools.tool import ToolOutcome, ToolRequest
from kelpie.world import WallClock

PASSAGES_FOUND, MESSAGES_FOUND = 5, 3  # as the compatible API has it; messages for each keyword
HIT_CHARS_MAX = 1_500
_MINUTE_US = 60_000_000
_INDENT = "    "
_OWN = ("search_memory",)  # a search does not find itself
_NUMBERED = re.compile(r"(\d{1,6})\. (.*)")


class Chunk(Struct, frozen=True, kw_only=True):
    """Lines that belong together, and what they tell."""

    start_index: Annotated[int, Meta(description="The number of its first line.")]
    end_index: Annotated[int, Meta(description="The number of its last line.")]
    context: Annotated[
        str,
        Meta(description="What it tells that will matter later (facts, wishes, plans), in one to three sentences."),
    ]


class VoiceDesk(Struct, frozen=True, kw_only=True):
    """What these tools work with, and the call."""

    records: Records
    wall: WallClock
    archival: Archival
    groups: Groups
    request: ToolRequest

    async def last_heard(self) -> str:
        """The newest thing that a user said in the thread that calls."""
        query = HistoryQuery(kinds=("user",), limit=1)
        hits = await History(self.records).search(await self.thread(), query)
        return searchable_text(hits.messages[0]) if hits.messages else ""

    async def thread(self) -> ThreadId:
        """The thread whose turn calls; the default one when no turn does."""
        run = await self.records.get(RUNS.at(self.request.run_id))
        return ThreadId(self.request.agent_id) if run is None else run.value.thread_id

    async def talker(self) -> AgentId:
        """The agent that the caller helps, or itself."""
        for view in await self.groups.of_member(self.request.agent_id):
            if view.group.pattern == "voice_sleeptime" and view.group.manager_id is not None:
                return view.group.manager_id
        return self.request.agent_id


def voice_box(records: Records, wall: WallClock, archival: Archival, groups: Groups) -> ServedBox[VoiceDesk]:
    """The two tools."""
    served = [
        serve_function(store_memories, VoiceDesk, kind="voice_sleeptime", title="Keep what was said", idempotent=True),
        serve_function(
            search_memory,
            VoiceDesk,
            kind="voice_sleeptime",
            title="Look up what was said",
            read_only=True,
            parallel=False,
        ),
    ]
    return ServedBox(
        served,
        lambda request: VoiceDesk(records=records, wall=wall, archival=archival, groups=groups, request=request),
    )


def number_lines(texts: Sequence[str]) -> list[str]:
    """The texts as numbered lines, from 0; further lines of a text are indented, so that none looks like a number."""
    return [f"{at}. {text}".replace("\n", f"\n{_INDENT}") for at, text in enumerate(texts)]


def read_numbered(text: str) -> dict[int, str]:
    """The numbered lines that stand in a text, each with the indented ones behind it."""
    lines: dict[int, str] = {}
    last: int | None = None
    for line in text.split("\n"):
        found = _NUMBERED.fullmatch(line)
        if found is not None:
            last = int(found[1])
            lines[last] = found[2]
        elif last is not None and line.startswith(_INDENT):
            lines[last] += f"\n{line.removeprefix(_INDENT)}"
        else:
            last = None
    return lines


async def store_memories(desk: VoiceDesk, /, chunks: list[Chunk]) -> ToolOutcome:
    """Keep parts of the conversation that you were told in the archive of the agent that you work for.

    Each part is a stretch of the numbered lines and a few words of yours, by which it is found again.

    Args:
    chunks: The parts, in the order of their lines.
    """
    if not 0 < len(chunks) <= PASSAGES_PER_CALL_MAX:
        return _failed(f"There are {len(chunks)} chunks; hand over 1 to {PASSAGES_PER_CALL_MAX}.")
    lines = read_numbered(await desk.last_heard())
    if not lines:
        return _failed("Nothing was kept: there are no numbered lines in what you were told last.")
    new: list[NewPassage] = []
    for at, chunk in enumerate(chunks):
        wanted = [number for number in lines if chunk.start_index <= number <= chunk.end_index]
        if not {chunk.start_index, chunk.end_index} <= set(wanted):
            return _failed(
                f"Nothing was kept: there are no lines {chunk.start_index} to {chunk.end_index}. The lines that you"
                f" were told have the numbers {min(lines)} to {max(lines)}."
            )
        assert wanted, "it has its first line"
        said = "\n".join(lines[number] for number in wanted)
        new.append(NewPassage(id=passage_id(desk.request, at), text=f"{chunk.context.strip()}\n\n{said}"))
    assert len(new) == len(chunks)
    kept = await desk.archival.insert(await desk.talker(), new)
    return ToolOutcome(text=f"Kept in the archive: {len(kept)} of {len(chunks)} parts.")


async def search_memory(
    desk: VoiceDesk,
    /,
    convo_keyword_queries: list[str] | None = None,
    start_minutes_ago: int | None = None,
    end_minutes_ago: int | None = None,
) -> ToolOutcome:
    """Look up in your archive and in your earlier conversation what you do not see any more.

    What the user said last is looked for by itself, by its meaning. Use this only when the user asks for something that
    you do not know.

    Args:
    convo_keyword_queries: Words to look for in the conversation as well, such as names and numbers.
    start_minutes_ago: Only what is at least so many minutes old.
    end_minutes_ago: Only what is at most so many minutes old.
    """
    words = convo_keyword_queries or []
    if len(words) > VOICE_KEYWORDS_MAX or any(len(word) > HISTORY_QUERY_CHARS_MAX for word in words):
        return _failed(
            f"Use at most {VOICE_KEYWORDS_MAX} keywords, of at most {HISTORY_QUERY_CHARS_MAX} characters each."
        )
    now_us = desk.wall.now_us()
    from_us, to_us = _moments(now_us, end_minutes_ago, start_minutes_ago)
    agent_id = desk.request.agent_id
    zone = zone_of((await desk.archival.settings(agent_id)).timezone)
    heard = await desk.last_heard()
    asked = PassageQuery(text=heard[:SEARCH_QUERY_CHARS_MAX], from_us=from_us, to_us=to_us, limit=PASSAGES_FOUND)
    found = await desk.archival.search(agent_id, asked)
    assert len(found) <= PASSAGES_FOUND
    kept = [
        _Kept(
            timestamp=show_moment(one.passage.created_at_us, zone),
            content=show_passage(one.passage.text, HIT_CHARS_MAX),
        )
        for one in found
    ]
    said = {word: hits for word in words if (hits := await _said(desk, word, heard, from_us, to_us))}
    assert len(said) <= VOICE_KEYWORDS_MAX
    answer = _Answer(archival_search_results=kept, convo_keyword_search_results=said if words else None)
    return ToolOutcome(text=msgspec.json.encode(answer).decode())


class _Kept(Struct, frozen=True, kw_only=True):
    """A passage as the model is shown it."""

    timestamp: str
    content: str


class _Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer of `search_memory`."""

    archival_search_results: list[_Kept]
    convo_keyword_search_results: dict[str, list[str]] | None = None


async def _said(desk: VoiceDesk, word: str, heard: str, from_us: int | None, to_us: int | None) -> list[str]:
    """The newest messages of the conversation with that word; the question itself is none of them."""
    query = HistoryQuery(
        text=word, kinds=("user", "assistant"), from_us=from_us, to_us=to_us, limit=MESSAGES_FOUND + 1, skip_tools=_OWN
    )
    hits = await History(desk.records).search(await desk.thread(), query)
    texts = [searchable_text(message, _OWN) for message in hits.messages]
    return [excerpt(said, word.casefold().split(), HIT_CHARS_MAX) for said in texts if said != heard][:MESSAGES_FOUND]


def _moments(now_us: int, oldest: int | None, newest: int | None) -> tuple[int | None, int | None]:
    """From when until when, in whichever order the model has named them."""
    from_us = None if oldest is None else max(0, now_us - oldest * _MINUTE_US)
    to_us = None if newest is None else max(0, now_us - newest * _MINUTE_US)
    if from_us is not None and to_us is not None and from_us > to_us:
        return to_us, from_us
    return from_us, to_us


def _failed(sentence: str) -> ToolOutcome:
    return ToolOutcome(text=sentence, ok=False)
