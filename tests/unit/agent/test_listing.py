"""Lists of agents: newest first, page by page, filtered, and each exactly once."""

from collections.abc import Callable
from typing import Any

import pytest

from kelpie.agent import listing
from kelpie.agent.listing import AgentFilter
from kelpie.storage.paging import Page
from tests.unit.agent.test_roster import UNKNOWN, Desk

Run = Callable[[Any], Any]


async def _names(desk: Desk, wanted: AgentFilter | None = None, **page: Any) -> list[str]:
    views = await desk.listing.agents(wanted or AgentFilter(), Page(**{"limit": 100, **page}))
    return [view.settings.name for view in views]


@pytest.mark.parametrize("at_once", [1, 2, 64])
def test_pages_follow_each_other_in_both_orders(run: Run, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """However many rows are read at once, pages of two give all agents, once, in order."""
    monkeypatch.setattr(listing, "READ_AT_ONCE", at_once)

    async def scenario() -> None:
        desk = Desk()
        made = [(await desk.agent(name=f"n{at}")).settings for at in range(5)]
        for newest_first in (True, False):
            expected = [one.name for one in made]
            if newest_first:
                expected.reverse()
            pages, after = [], None
            for _ in range(3):
                views = await desk.listing.agents(AgentFilter(), Page(limit=2, after=after, newest_first=newest_first))
                pages.append([view.settings.name for view in views])
                after = views[-1].settings.id
            assert pages == [expected[:2], expected[2:4], expected[4:]]
        assert await _names(desk, before=made[2].id) == ["n4", "n3"]
        assert await _names(desk, before=made[2].id, newest_first=False) == ["n0", "n1"]
        assert await _names(desk, after=UNKNOWN) == await _names(desk, before=UNKNOWN) == ["n4", "n3", "n2", "n1", "n0"]
        assert await _names(desk, after=made[1].id, before=made[3].id) == []

    run(scenario())


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (AgentFilter(name="Ada"), ["Ada"]),
        (AgentFilter(text="ad"), ["Adam", "Ada"]),
        (AgentFilter(tags=("x", "y")), ["Adam", "Ada"]),
        (AgentFilter(tags=("x", "y"), all_tags=True), ["Ada"]),
        (AgentFilter(tags=("z",)), []),
        (AgentFilter(stop_reason="error"), []),
    ],
)
def test_a_filter_holds_for_list_and_count_alike(run: Run, wanted: AgentFilter, names: list[str]) -> None:
    async def scenario() -> tuple[list[str], int]:
        desk = Desk()
        for name, tags in (("Ada", ("x", "y")), ("Adam", ("x",)), ("Eve", ())):
            await desk.agent(name=name, tags=tags)
        return await _names(desk, wanted), await desk.listing.count(wanted)

    assert run(scenario()) == (names, len(names))


def test_all_agents_are_counted_and_their_tags_collected(run: Run) -> None:
    async def scenario() -> tuple[int, list[str]]:
        desk = Desk()
        for tags in (("b", "a"), ("c", "a"), ()):
            await desk.agent(tags=tags)
        return await desk.listing.count(), await desk.listing.tags()

    assert run(scenario()) == (3, ["a", "b", "c"])
