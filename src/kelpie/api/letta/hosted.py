"""What the command line tool asks of the hosted service, where this server has an answer of its own."""

from msgspec import Struct

from kelpie.api.letta import hosted_talks
from kelpie.api.letta.agent_shapes import SecretOut, show_secrets
from kelpie.api.letta.house import House
from kelpie.api.letta.mcp_servers import SHAPES, SHOWN, RanOut, RunIn, ServerOut, list_server_tools, run_server_tool
from kelpie.api.letta.mcp_shapes import show_server
from kelpie.api.letta.tools import ToolOut
from kelpie.api.letta.values import USER_ID
from kelpie.api.route import Ask, Route
from kelpie.ids import AgentId


class AccountOut(Struct, frozen=True, kw_only=True):
    """Who asks."""

    id: str
    name: str


class CatalogModelOut(Struct, frozen=True, kw_only=True, rename="camel"):
    """A model that may be picked. Limits in tokens."""

    id: str
    handle: str
    label: str
    brand: str
    description: str
    is_default: bool
    max_context_window: int
    context_window: int
    max_output_tokens: int


class CatalogOut(Struct, frozen=True, kw_only=True):
    """Every model that may be picked; the first is the default."""

    models: list[CatalogModelOut]


async def retrieve_account(house: House, ask: Ask[None, None]) -> AccountOut:
    """The one user that there is."""
    return AccountOut(id=USER_ID, name="default_user")


async def list_catalog(house: House, ask: Ask[None, None]) -> CatalogOut:
    """The models of every configured provider, in the words of the tool's picker."""
    found = await house.models.list_models()
    models = [
        CatalogModelOut(
            id=info.handle,
            handle=info.handle,
            label=info.model,
            brand=info.provider,
            description="",
            is_default=at == 0,
            max_context_window=info.context_tokens,
            context_window=info.context_tokens,
            max_output_tokens=info.output_tokens_max,
        )
        for at, info in enumerate(found)
    ]
    return CatalogOut(models=models)


async def list_secrets(house: House, ask: Ask[None, None]) -> list[SecretOut]:
    """The agent's secrets, opened: the tool sets them as variables of what the agent runs on its side."""
    return show_secrets(house, await house.roster.get_settings(AgentId(ask.path["agent_id"])))


async def list_servers_of_agent(house: House, ask: Ask[None, None]) -> list[ServerOut]:
    """The tool servers that the agent has tools of."""
    settings = await house.roster.get_settings(AgentId(ask.path["agent_id"]))
    tools = await house.tools.present(settings.tools)
    wanted = {tool.remote.server_id for tool in tools if tool.remote is not None}
    return [show_server(house.servers, one) for one in await house.servers.all() if one.id in wanted]


async def list_tools_of_server(house: House, ask: Ask[None, None]) -> list[ToolOut]:
    """The tools of a server, asked for an agent."""
    await house.roster.get_settings(AgentId(ask.path["agent_id"]))
    return await list_server_tools(house, ask)


async def run_tool_of_server(house: House, ask: Ask[None, RunIn | None]) -> RanOut:
    """Call a tool of a server, asked for an agent."""
    await house.roster.get_settings(AgentId(ask.path["agent_id"]))
    return await run_server_tool(house, ask)


SERVERS_PATH = "/v1/agents/{agent_id}/mcp-servers"
ROUTES = (
    Route(
        method="GET",
        path="/v1/metadata/user",
        name="retrieve_account",
        summary="Who asks",
        tag="hosted",
        handler=retrieve_account,
        answer=AccountOut,
    ),
    Route(
        method="GET",
        path="/v1/models/catalog",
        name="list_catalog",
        summary="List models for a picker",
        tag="hosted",
        handler=list_catalog,
        answer=CatalogOut,
    ),
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/secrets",
        name="list_secrets_of_agent",
        summary="List an agent's secrets with their values",
        tag="hosted",
        handler=list_secrets,
        answer=list[SecretOut],
        refusals=(400, 404),
    ),
    Route(
        method="GET",
        path=SERVERS_PATH,
        name="list_mcp_servers_of_agent",
        summary="List the tool servers that an agent has tools of",
        tag="hosted",
        handler=list_servers_of_agent,
        answer=list[SHOWN],
        shapes=SHAPES,
        refusals=(404,),
    ),
    Route(
        method="GET",
        path=f"{SERVERS_PATH}/{{mcp_server_id}}/tools",
        name="list_mcp_tools_for_agent",
        summary="List the tools of a tool server, for an agent",
        tag="hosted",
        handler=list_tools_of_server,
        answer=list[ToolOut],
        refusals=(404,),
    ),
    Route(
        method="POST",
        path=f"{SERVERS_PATH}/{{mcp_server_id}}/tools/{{tool_id}}/run",
        name="run_mcp_tool_for_agent",
        summary="Call a tool of a tool server, for an agent",
        tag="hosted",
        handler=run_tool_of_server,
        body=RunIn | None,
        body_needed=False,
        answer=RanOut,
        refusals=(400, 404, 503),
    ),
    *hosted_talks.ROUTES,
)
