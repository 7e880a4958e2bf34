"""Which tables are moved as which kinds, in which order, and what is not moved, with its reason."""

from collections.abc import Callable

from kelpie.importing.journal import Left, Progress
from kelpie.importing.letta.agents import Agents, Conversations
from kelpie.importing.letta.archives import ArchivedPassages, Archives
from kelpie.importing.letta.folders import FilePassages, Files, Folders, OpenFiles
from kelpie.importing.letta.ground import Ground
from kelpie.importing.letta.groups import Groups
from kelpie.importing.letta.identities import Identities
from kelpie.importing.letta.kinds import Blocks, Providers, Tools, ToolServers
from kelpie.importing.letta.runs import Runs
from kelpie.importing.letta.sandboxes import SandboxConfigs, SandboxVariables
from kelpie.importing.move import Kind, Mover
from kelpie.importing.report import Report

# Rows that come along inside of others, or say nothing that is not said elsewhere.
WITHIN = frozenset(
    "agents_tags tools_agents blocks_agents agent_environment_variables messages conversation_messages"
    " blocks_conversations archives_agents passage_tags steps step_metrics sources_agents file_contents block_history"
    " identities_agents identities_blocks groups_agents groups_blocks"
    " alembic_version".split()
)
STAYING = {
    "organizations": "this server has one organisation",
    "users": "this server has one user",
    "provider_models": "models are asked of their providers",
    "prompts": "nothing there or here reads them",
    "jobs": "background jobs ended with the old server; before 0.12 they held the runs as well",
    "job_messages": "background jobs of the old server ended with it",
    "mcp_oauth": "logins to tool servers are bound to the old server's address; log in again",
    "provider_traces": "requests and replies of models were kept there for debugging only",
    "provider_trace_metadata": "requests and replies of models were kept there for debugging only",
    "run_metrics": "timings of runs were kept there for statistics only",
    "llm_batch_job": "batches of the old server ended with it",
    "llm_batch_items": "batches of the old server ended with it",
}
UNKNOWN = "this release of Kelpie does not move them"


def kinds_of(ground: Ground, *, dry: bool) -> list[Kind]:
    """Every kind, each after those that it refers to."""
    agents, configs = Agents(ground, dry=dry), SandboxConfigs(ground)
    return [
        Providers(ground, dry=dry),
        ToolServers(ground),
        configs,
        SandboxVariables(ground, configs, dry=dry),
        Tools(ground),
        Blocks(ground),
        Identities(ground, dry=dry),
        agents,
        Conversations(ground, agents, dry=dry),
        Groups(ground, agents, dry=dry),
        Archives(ground, agents),
        ArchivedPassages(ground, dry=dry),
        Folders(ground, agents),
        Files(ground, dry=dry),
        FilePassages(ground, dry=dry),
        OpenFiles(ground, agents, dry=dry),
        Runs(ground, agents),
    ]


async def move_all(
    ground: Ground, source_name: str, source_id: str, *, dry: bool, note: Callable[[str], None]
) -> Report:
    """The whole move; what it did."""
    mover = Mover(ground.house.records, ground.source, source_id, note, dry=dry)
    moved: dict[str, Progress] = {}
    kinds = kinds_of(ground, dry=dry)
    for kind in kinds:
        moved[kind.name] = await mover.move(kind)
    counts = await ground.source.tables()
    known = {kind.table for kind in kinds} | WITHIN
    staying = tuple(
        Left(reason=STAYING.get(table, UNKNOWN), count=count, named=(table,))
        for table, count in sorted(counts.items())
        if count and table not in known
    )
    return Report(source=source_name, dry=dry, kinds=moved, left_tables=staying)
