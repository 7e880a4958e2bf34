"""The model's own hands on its archive: keep something for later, look for it again.

They run in a box, outside the agent's commits: embedding asks a provider. An insert may be made again after a crash in
its middle, because the passage's id comes from the call: whatever is there under it already is not made twice.
"""

import hashlib
from typing import Literal

import msgspec
from msgspec import Struct

from kelpie.agent.archival import Archival
from kelpie.agent.moments import read_moment, show_moment, zone_of
from kelpie.errors import InvalidInput
from kelpie.ids import PassageId, uuid_from_bytes
from kelpie.limits import TOOL_RETURN_CHARS_DEFAULT
from kelpie.memory.archive import NewPassage, PassageQuery
from kelpie.memory.passages import FoundPassage
from kelpie.tools.function import ServedBox, serve_function
from kelpie.tools.tool import ToolOutcome, ToolRequest

FOUND_DEFAULT = 5  # passages, as the compatible API has it
FOUND_MAX = 50
_HITS_CHARS = TOOL_RETURN_CHARS_DEFAULT * 4 // 5  # leaves room for what is around the texts


class ArchiveDesk(Struct, frozen=True, kw_only=True):
    """What an archive tool works on: the archive of whoever calls, and the call."""

    archival: Archival
    request: ToolRequest


def passage_id(request: ToolRequest, at: int = 0) -> PassageId:
    """The id of what a call keeps, the first thing or a later one: the same one each time that the call is made."""
    key = f"{request.run_id} {request.step_id} {request.call_id}" + (f" {at}" if at else "")
    return PassageId(f"passage-{uuid_from_bytes(hashlib.sha256(key.encode()).digest()[:16])}")


def show_passage(text: str, chars_max: int) -> str:
    """The text, or its beginning with a note that says so."""
    if len(text) <= chars_max:
        return text
    return f"{text[:chars_max]} [... clipped: {chars_max} of {len(text)} characters are shown]"


def archival_box(archival: Archival) -> ServedBox[ArchiveDesk]:
    """The archive tools."""
    return ServedBox(
        [
            serve_function(
                archival_memory_insert, ArchiveDesk, kind="core", title="Keep in the archive", idempotent=True
            ),
            serve_function(
                archival_memory_search, ArchiveDesk, kind="core", title="Search the archive", read_only=True
            ),
        ],
        lambda request: ArchiveDesk(archival=archival, request=request),
    )


async def archival_memory_insert(desk: ArchiveDesk, /, content: str, tags: list[str] | None = None) -> ToolOutcome:
    """Keep something in your archive, which has no limit and lasts. You do not see the archive: search it to find it.

    Write each entry so that it can be understood on its own, long after this conversation: names, dates, decisions.

    Args:
    content: What to keep.
    tags: Words under which to file it, to narrow a later search.
    """
    if not content.strip():
        return ToolOutcome(text="There is nothing to keep: content is empty.", ok=False)
    new = NewPassage(id=passage_id(desk.request), text=content, tags=tuple(tags or ()))
    (kept,) = await desk.archival.insert(desk.request.agent_id, [new])
    return ToolOutcome(text=f"Kept in your archive as {kept.id}.")


async def archival_memory_search(
    desk: ArchiveDesk,
    /,
    query: str,
    tags: list[str] | None = None,
    tag_match_mode: Literal["any", "all"] = "any",
    top_k: int | None = None,
    start_datetime: str | None = None,
    end_datetime: str | None = None,
) -> ToolOutcome:
    """Search your archive by meaning and by words. Answers with the entries that fit best, the best one first.

    Args:
    query: What you look for, in your own words.
    tags: Only entries that are filed under these words.
    tag_match_mode: "any": one of the tags is enough; "all": only entries that have all of them.
    top_k: How many entries to answer with at most; 5 if not given.
    start_datetime: Only entries of this time or later: YYYY-MM-DD for the whole day, or YYYY-MM-DDTHH:MM.
    end_datetime: Only entries of this time or earlier: YYYY-MM-DD for the whole day, or YYYY-MM-DDTHH:MM.
    """
    wanted = FOUND_DEFAULT if top_k is None else top_k
    if not 1 <= wanted <= FOUND_MAX:
        return ToolOutcome(text=f"top_k is {wanted}; use a number from 1 to {FOUND_MAX}.", ok=False)
    zone = zone_of((await desk.archival.settings(desk.request.agent_id)).timezone)
    try:
        from_us = read_moment("start_datetime", start_datetime, zone, end_of_day=False)
        to_us = read_moment("end_datetime", end_datetime, zone, end_of_day=True)
    except InvalidInput as error:
        return ToolOutcome(text=error.sentence, ok=False)
    asked = PassageQuery(
        text=query,
        tags=tuple(tags or ()),
        all_tags=tag_match_mode == "all",
        from_us=from_us,
        to_us=to_us,
        limit=wanted,
    )
    found = await desk.archival.search(desk.request.agent_id, asked)
    assert len(found) <= wanted
    chars_max = _HITS_CHARS // max(1, len(found))
    shown = tuple(_show(one, show_moment(one.passage.created_at_us, zone), chars_max) for one in found)
    assert len(shown) == len(found)
    return ToolOutcome(text=msgspec.json.encode(_Answer(results=shown, count=len(shown))).decode())


class _Shown(Struct, frozen=True, kw_only=True):
    """An entry as the model is shown it."""

    id: str
    timestamp: str
    content: str
    tags: tuple[str, ...]


class _Answer(Struct, frozen=True, kw_only=True):
    """The answer of `archival_memory_search`."""

    results: tuple[_Shown, ...]
    count: int


def _show(found: FoundPassage, timestamp: str, chars_max: int) -> _Shown:
    passage = found.passage
    return _Shown(id=passage.id, timestamp=timestamp, content=show_passage(passage.text, chars_max), tags=passage.tags)
