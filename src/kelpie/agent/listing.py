"""Lists of agents and of their runs, page by page, read from the indexes by time of creation."""

from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Sequence
from typing import Literal, TypeVar

from msgspec import Struct

from kelpie.agent.state import (
    AGENTS,
    AGENTS_BY_TIME,
    STATES,
    AgentSettings,
    AgentState,
    StopReason,
)
from kelpie.agent.view import AgentView, view_of
from kelpie.errors import LimitExceeded
from kelpie.ids import AgentId
from kelpie.limits import AGENTS_SCANNED_MAX, GET_KEYS_MAX, PAGE_ROWS_MAX, SCAN_ROWS_MAX
from kelpie.memory.blocks import Block, Blocks
from kelpie.storage import keys
from kelpie.storage.paging import Page, rows_to_read
from kelpie.storage.records import Found, Records

READ_AT_ONCE = 64  # records of possibly RECORD_BYTES_MAX each, though hardly any is
TAGS_AGENTS_MAX = 10_000
T = TypeVar("T", bound=Struct)
Moment = Literal["updated", "ran"]
_Pair = tuple[Found[AgentSettings], Found[AgentState]]


class AgentFilter(Struct, frozen=True, kw_only=True):
    """Which agents a list or count is about; None and () filter nothing."""

    name: str | None = None
    tags: tuple[str, ...] = ()
    all_tags: bool = False
    text: str | None = None  # a part of the name, in any case
    stop_reason: StopReason | None = None  # of the last run
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None
    shown_only: bool = False  # not those that are hidden
    among: tuple[str, ...] | None = None  # ids, of which alone agents are wanted


EVERY_AGENT = AgentFilter()


class Listing:
    """Reads the lists."""

    def __init__(self, records: Records, blocks: Blocks) -> None:
        self._records = records
        self._blocks = blocks

    async def agents(self, wanted: AgentFilter, page: Page, *, with_blocks: bool = True) -> list[AgentView]:
        """A page of agents. A cursor that is no agent, or none any more, bounds nothing."""
        assert 0 < page.limit <= PAGE_ROWS_MAX
        start, end = await self._bounds(page)
        if wanted.among is not None:
            found = await self._among(wanted, start, end)
            assert start <= end
            found.sort(key=lambda pair: (pair[0].value.created_at_us, pair[0].value.id), reverse=page.newest_first)
            return await self._with_blocks(found[: page.limit], with_blocks)
        views: list[_Pair] = []
        scanned = 0
        while len(views) < page.limit and scanned < AGENTS_SCANNED_MAX:
            at_once = rows_to_read(page.limit, scanned, READ_AT_ONCE)
            rows = await self._records.scan_range(AGENTS_BY_TIME, start, end, limit=at_once, reverse=page.newest_first)
            pairs = await self._pairs([row.value.id for row in rows])
            views += [pair for pair in pairs if _is_wanted(pair, wanted)]
            if len(rows) < at_once:
                break
            start, end = _beyond(rows[-1].key, start, end, page.newest_first)
            scanned += len(rows)
        return await self._with_blocks(views[: page.limit], with_blocks)

    async def agents_by(
        self, moment: Moment, wanted: AgentFilter, page: Page, *, with_blocks: bool = True
    ) -> list[AgentView]:
        """A page in the order of another time than that of creation, for which every agent is looked at.

        One that never ran is older than all others. Raises LimitExceeded.
        """
        assert 0 < page.limit <= PAGE_ROWS_MAX
        found = sorted([_moment_of(pair, moment) async for pair in self._every(wanted)])
        after, before = [None if one is None else await self._moment(one, moment) for one in (page.after, page.before)]
        lower, upper = (before, after) if page.newest_first else (after, before)
        start = 0 if lower is None else bisect_right(found, lower)
        end = len(found) if upper is None else bisect_left(found, upper)
        chosen = (found[start:end][::-1] if page.newest_first else found[start:end])[: page.limit]
        assert len(chosen) <= page.limit
        return await self.some([AgentId(agent_id) for _, agent_id in chosen], with_blocks=with_blocks)

    async def count(self, wanted: AgentFilter = EVERY_AGENT) -> int:
        """How many agents there are. LimitExceeded when there are more to look at than AGENTS_SCANNED_MAX."""
        if wanted != EVERY_AGENT:
            return sum([1 async for _ in self._every(wanted)])
        start, end = keys.below(AGENTS_BY_TIME.name)
        counted = 0
        while counted <= AGENTS_SCANNED_MAX:
            rows = await self._records.scan_range(AGENTS_BY_TIME, start, end, limit=SCAN_ROWS_MAX, reverse=False)
            counted += len(rows)
            if len(rows) < SCAN_ROWS_MAX:
                return counted
            start, end = _beyond(rows[-1].key, start, end, False)
        raise _too_many(AGENTS_SCANNED_MAX, "AGENTS_SCANNED_MAX")

    async def some(self, agent_ids: Sequence[AgentId], *, with_blocks: bool = True) -> list[AgentView]:
        """These agents, those that are there, in this order."""
        assert len(agent_ids) <= PAGE_ROWS_MAX
        views: list[_Pair] = []
        for start in range(0, len(agent_ids), READ_AT_ONCE):
            views += await self._pairs(agent_ids[start : start + READ_AT_ONCE])
        return await self._with_blocks(views, with_blocks)

    async def present(self, agent_ids: Sequence[AgentId]) -> frozenset[AgentId]:
        """Those of the agents that are there; only asked whether it holds one."""
        wanted = list(dict.fromkeys(agent_ids))
        there: list[AgentId] = []
        for start in range(0, len(wanted), GET_KEYS_MAX):
            founds = await self._records.get_all([AGENTS.at(each) for each in wanted[start : start + GET_KEYS_MAX]])
            there += [found.value.id for found in founds if found is not None]
        return frozenset(there)

    async def tags(self) -> list[str]:
        """The tags of all agents, sorted. LimitExceeded when there are more than TAGS_AGENTS_MAX agents."""
        tags: set[str] = set()
        looked_at = 0
        async for settings, _ in self._every(EVERY_AGENT):
            looked_at += 1
            if looked_at > TAGS_AGENTS_MAX:
                raise _too_many(TAGS_AGENTS_MAX, "TAGS_AGENTS_MAX")
            tags.update(settings.value.tags)
        return sorted(tags)

    # -- inside --------------------------------------------------------------------------------------------

    async def _moment(self, cursor: str, moment: Moment) -> tuple[int, str] | None:
        pairs = await self._pairs([AgentId(cursor)])
        return _moment_of(pairs[0], moment) if pairs else None

    async def _every(self, wanted: AgentFilter) -> AsyncIterator[_Pair]:
        """All agents that are wanted, the oldest first unless they are named."""
        start, end = keys.below(AGENTS_BY_TIME.name)
        if wanted.among is not None:
            for pair in await self._among(wanted, start, end):
                yield pair
            return
        scanned = 0
        while scanned <= AGENTS_SCANNED_MAX:
            rows = await self._records.scan_range(AGENTS_BY_TIME, start, end, limit=READ_AT_ONCE, reverse=False)
            pairs = await self._pairs([row.value.id for row in rows])
            assert len(pairs) <= len(rows) <= READ_AT_ONCE
            for pair in pairs:
                if _is_wanted(pair, wanted):
                    yield pair
            assert start < end
            if len(rows) < READ_AT_ONCE:
                return
            start, end = _beyond(rows[-1].key, start, end, False)
            scanned += len(rows)
        raise _too_many(AGENTS_SCANNED_MAX, "AGENTS_SCANNED_MAX")

    async def _among(self, wanted: AgentFilter, start: bytes, end: bytes) -> list[_Pair]:
        """Those of the named agents that are wanted and stand in the range."""
        assert wanted.among is not None
        found: list[_Pair] = []
        for at in range(0, len(wanted.among), READ_AT_ONCE):
            for pair in await self._pairs([AgentId(one) for one in wanted.among[at : at + READ_AT_ONCE]]):
                key = AGENTS_BY_TIME.at(pair[0].value.created_at_us, pair[0].value.id).key
                if start <= key < end and _is_wanted(pair, wanted):
                    found.append(pair)
        assert len(found) <= len(wanted.among)
        return found

    async def _pairs(self, agent_ids: Sequence[AgentId]) -> list[_Pair]:
        """Settings and state of the agents that are there, of each from one snapshot."""
        assert len(agent_ids) * 2 <= GET_KEYS_MAX
        pairs = await self._records.get_pairs([(AGENTS.at(each), STATES.at(each)) for each in agent_ids])
        return [(one, two) for one, two in pairs if one is not None and two is not None]

    async def _with_blocks(self, pairs: Sequence[_Pair], with_blocks: bool) -> list[AgentView]:
        wanted = sorted({ref.id for settings, _ in pairs for ref in settings.value.blocks}) if with_blocks else []
        assert len(pairs) <= PAGE_ROWS_MAX
        blocks: dict[str, Found[Block]] = {}
        for start in range(0, len(wanted), READ_AT_ONCE):
            for found in await self._blocks.get_many(wanted[start : start + READ_AT_ONCE]):
                if found is not None:
                    blocks[found.value.id] = found
        assert len(blocks) <= len(wanted)
        return [
            view_of(settings, state, [blocks.get(ref.id) for ref in settings.value.blocks] if with_blocks else ())
            for settings, state in pairs
        ]

    async def _bounds(self, page: Page) -> tuple[bytes, bytes]:
        """The index keys strictly between the page's cursors.

        Who removes what a page has shown asks for the next page from behind an agent that is gone.
        """
        lower, upper = (page.before, page.after) if page.newest_first else (page.after, page.before)
        start, end = keys.below(AGENTS_BY_TIME.name)
        lowest = None if lower is None else await self._agent_key(lower)
        highest = None if upper is None else await self._agent_key(upper)
        assert start < end
        first = start if lowest is None else lowest + b"\0"
        return first, max(first, end if highest is None else highest)  # they may cross: nothing is between them

    async def _agent_key(self, agent_id: str) -> bytes | None:
        found = await self._records.get(AGENTS.at(agent_id))
        return None if found is None else AGENTS_BY_TIME.at(found.value.created_at_us, agent_id).key


def _beyond(key: bytes, start: bytes, end: bytes, newest_first: bool) -> tuple[bytes, bytes]:
    """What is left of the range behind the last key that was read."""
    assert start <= key < end
    return (start, key) if newest_first else (key + b"\0", end)


def _moment_of(pair: _Pair, moment: Moment) -> tuple[int, str]:
    """When it was, and whose: never is before all else."""
    settings, state = pair[0].value, pair[1].value
    at_us = settings.updated_at_us if moment == "updated" else state.last_run_at_us
    return (-1 if at_us is None else at_us), settings.id


def _too_many(maximum: int, limit: str) -> LimitExceeded:
    return LimitExceeded(f"there are more than {maximum} agents to look at", limit=limit, maximum=maximum)


def _is_wanted(pair: _Pair, wanted: AgentFilter) -> bool:
    settings, state = pair[0].value, pair[1].value
    if wanted.name is not None and settings.name != wanted.name:
        return False
    if wanted.text is not None and wanted.text.casefold() not in settings.name.casefold():
        return False
    if wanted.stop_reason is not None and state.last_stop_reason != wanted.stop_reason:
        return False
    if wanted.shown_only and settings.hidden:
        return False
    for field in ("project_id", "template_id", "base_template_id", "deployment_id"):
        asked = getattr(wanted, field)
        if asked is not None and getattr(settings.lineage, field) != asked:
            return False
    has = [tag in settings.tags for tag in wanted.tags]
    return not has or (all(has) if wanted.all_tags else any(has))
