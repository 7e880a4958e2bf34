"""Every route of this server, as one table, and the pages about them."""

from kelpie.api import docs
from kelpie.api.letta import (
    access_tokens,
    admin,
    agent_files,
    agent_folders,
    agents,
    all_messages,
    archives,
    batches,
    block_history,
    blocks,
    chat_completions,
    conversations,
    core_memory,
    folders,
    generate,
    group_messages,
    groups,
    health,
    hosted,
    identities,
    internal_blocks,
    internal_templates,
    jobs,
    left_out,
    mcp_older,
    mcp_servers,
    message_search,
    messages,
    models,
    passages,
    passed_on,
    providers,
    runs,
    runs_internal,
    sandbox_configs,
    schedules,
    steps,
    tags,
    template_migration,
    templates,
    tool_making,
    tool_running,
    tool_search,
    tools,
    windows,
)
from kelpie.api.route import Route, RouteTable

ROUTES: tuple[Route, ...] = (
    *health.ROUTES,
    *models.ROUTES,
    *agents.ROUTES,
    *generate.ROUTES,
    *agent_files.ROUTES,
    *core_memory.ROUTES,
    *messages.ROUTES,
    *all_messages.ROUTES,
    *conversations.ROUTES,
    *windows.ROUTES,
    *runs.ROUTES,
    *runs_internal.ROUTES,
    *steps.ROUTES,
    *jobs.ROUTES,
    *batches.ROUTES,
    *blocks.ROUTES,
    *block_history.ROUTES,
    *identities.ROUTES,
    *groups.ROUTES,
    *group_messages.ROUTES,
    *schedules.ROUTES,
    *tools.ROUTES,
    *tool_making.ROUTES,
    *tool_running.ROUTES,
    *tool_search.ROUTES,
    *sandbox_configs.ROUTES,
    *mcp_servers.ROUTES,
    *mcp_older.ROUTES,
    *archives.ROUTES,
    *passages.ROUTES,
    *message_search.ROUTES,
    *providers.ROUTES,
    *passed_on.ROUTES,
    *chat_completions.ROUTES,
    *admin.ROUTES,
    *tags.ROUTES,
    *templates.ROUTES,
    *template_migration.ROUTES,
    *hosted.ROUTES,
    *internal_blocks.ROUTES,
    *internal_templates.ROUTES,
    *folders.ROUTES,
    *agent_folders.ROUTES,
    *access_tokens.ROUTES,
    *left_out.ROUTES,
)
ALIASES = {"latest": "v1"}
HOME = """<p>A runtime for stateful AI agents, version {version}. This server speaks the Letta V1 API: point the
official client at it, nothing else changes.</p>
<pre>pip install letta-client

from letta_client import Letta
client = Letta(base_url="{url}", api_key="anything")
agent = client.agents.create(
    model="kelpie/rehearsed",
    memory_blocks=[{{"label": "human", "value": "Name: Ada"}}],
)
print(client.agents.messages.create(agent.id, input="Hello!").messages)</pre>
<p>Or from a terminal:</p>
<pre>curl {url}/v1/health/
curl {url}/v1/models/</pre>
<p><a href="/docs">All operations</a> &middot; <a href="/openapi.json">the OpenAPI document</a></p>"""


def route_table() -> RouteTable:
    """Every route of this server, and of the pages about them."""
    return RouteTable([*ROUTES, *docs.routes(ROUTES, HOME)], ALIASES)
