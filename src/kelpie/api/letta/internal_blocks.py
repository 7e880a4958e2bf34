"""The paths of blocks and of agents' counts that the hosted service called itself by: the same, under another name."""

from msgspec import Struct, structs

from kelpie.agent.listing import AgentFilter
from kelpie.api.letta import blocks, core_memory
from kelpie.api.letta.house import House
from kelpie.api.route import Ask, Route

TAG = "internal"
PATHS = {
    "list_blocks": ("list_internal_blocks", "/v1/_internal_blocks/"),
    "create_block": ("create_internal_block", "/v1/_internal_blocks/"),
    "delete_block": ("delete_internal_block", "/v1/_internal_blocks/{block_id}"),
    "list_agents_for_block": ("list_agents_for_internal_block", "/v1/_internal_blocks/{block_id}/agents"),
    "modify_core_memory_block": (
        "modify_internal_core_memory_block",
        "/v1/_internal_agents/{agent_id}/core-memory/blocks/{block_label}",
    ),
}


class CountInternalAgents(Struct, frozen=True, kw_only=True):
    """Whether those that are hidden are left out."""

    exclude_hidden: bool = True


async def count_internal_agents(house: House, ask: Ask[CountInternalAgents, None]) -> int:
    """How many agents there are."""
    return await house.listing.count(AgentFilter(shown_only=ask.query.exclude_hidden))


def _renamed(route: Route) -> Route:
    name, path = PATHS[route.name]
    return structs.replace(route, name=name, path=path, tag=TAG)


ROUTES = (
    Route(
        method="GET",
        path="/v1/_internal_agents/count",
        name="count_internal_agents",
        summary="Count agents",
        tag=TAG,
        handler=count_internal_agents,
        query=CountInternalAgents,
        answer=int,
    ),
    *[_renamed(route) for route in (*blocks.ROUTES, *core_memory.ROUTES) if route.name in PATHS],
)
