"""What a version of a template says of one agent that was made of an older one: what `migrate_agents` asks for."""

import msgspec

from kelpie.agent.migrations import Migration
from kelpie.agent.renewal import Renewal, Renewals, is_older
from kelpie.agent.state import AgentSettings
from kelpie.agent.templates import name_of
from kelpie.api.letta.agent_file.reading import ImportOptions, make_tools, understand
from kelpie.api.letta.agent_file.shapes import AgentFile, Entity
from kelpie.api.letta.house import House
from kelpie.api.letta.templates import DeployIn, fill_in
from kelpie.errors import NotFound
from kelpie.memory.lineage import Lineage


async def renew_agent(house: House, migration: Migration, settings: AgentSettings) -> None:
    """Make the agent what the version says. Raises NotFound (the version has no such agent), and other Refused."""
    named = await house.templates.read(migration.template_name, str(migration.version))
    if named.template.id != migration.template_id:
        raise NotFound(f"Template with id '{migration.template_id}' not found", id=migration.template_id)
    lineage = Lineage(template_id=name_of(named.template, named.version), base_template_id=named.template.id)
    if not is_older(settings, lineage):
        return
    file = msgspec.json.decode(bytes(named.content), type=AgentFile)
    fill_in(file, DeployIn(memory_variables=dict(settings.variables)))
    file = _only(file, settings)
    lineage = msgspec.structs.replace(lineage, entity_id=file.agents[0]["id"])
    given = msgspec.structs.replace(lineage, deployment_id=settings.lineage.deployment_id)
    plan = await understand(house, file, ImportOptions(override_existing_tools=False, lineage=given, opening=()))
    await make_tools(house, plan)
    renewal = Renewal(
        new=plan.agents[0].new,
        blocks=tuple(plan.blocks[short] for short in file.agents[0].get("block_ids") or ()),
        valueless=frozenset(key for key, value in _secrets(file.agents[0]).items() if not value),
        lineage=lineage,
        rules=migration.rules,
    )
    await Renewals(house.records, house.tools, house.world).renew(settings.id, renewal)


def _only(file: AgentFile, settings: AgentSettings) -> AgentFile:
    """The file with none but the agent that this one was made of; the only one, if there is only one."""
    entity_id = settings.lineage.entity_id
    found = [agent for agent in file.agents if len(file.agents) == 1 or agent["id"] == entity_id]
    if not found:
        raise NotFound(f"the version has no agent '{entity_id}'", entity_id=entity_id)
    needed = {*(found[0].get("block_ids") or ()), *(found[0].get("tool_ids") or ())}
    return msgspec.structs.replace(
        file,
        agents=found[:1],
        blocks=[block for block in file.blocks if block["id"] in needed],
        tools=[tool for tool in file.tools if tool["id"] in needed],
    )


def _secrets(entity: Entity) -> dict[str, str]:
    return {**(entity.get("tool_exec_environment_variables") or {}), **(entity.get("secrets") or {})}
