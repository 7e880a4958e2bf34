"""Pages of agents that belong to something: a block, an archive."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Raw, Struct

from kelpie.api.letta.agent_shapes import AgentOut, read_parts, show_agents
from kelpie.api.letta.house import House
from kelpie.api.letta.paging import Order, PageLimit, read_page
from kelpie.ids import AgentId

LIMIT_DEFAULT = 50


class PageOfAgents(Struct, frozen=True, kw_only=True):
    """Which page of the agents, and which of their parts."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    order_by: Literal["created_at"] = "created_at"
    include: list[str] | None = None
    include_relationships: list[str] | None = None


async def page_of_agents(house: House, agent_ids: Sequence[AgentId], query: PageOfAgents) -> list[AgentOut | Raw]:
    """A page of these agents, by time of creation."""
    page = read_page(
        "agent",
        before=query.before,
        after=query.after,
        limit=query.limit,
        order=query.order,
        limit_default=LIMIT_DEFAULT,
    )
    views = await house.listing.some(agent_ids)
    views.sort(key=lambda view: (view.settings.created_at_us, view.settings.id), reverse=page.newest_first)
    ids: list[str] = [view.settings.id for view in views]
    start = ids.index(page.after) + 1 if page.after in ids else 0
    end = ids.index(page.before) if page.before in ids else len(ids)
    parts = read_parts(query.include, query.include_relationships)
    return await show_agents(house, views[start:end][: page.limit], parts)
