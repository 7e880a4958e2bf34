"""What a version of a template says of one agent: for those that it made before, or for one that is named."""

import msgspec
from msgspec import Struct

from kelpie.agent.migrations import Migration
from kelpie.agent.renewal import Renewal, RenewalRules, Renewals, is_older
from kelpie.agent.state import AgentSettings
from kelpie.agent.templates import Named, name_of, split_version
from kelpie.api.letta.agent_file.reading import ImportOptions, make_tools, understand
from kelpie.api.letta.agent_file.shapes import AgentFile, Entity
from kelpie.api.letta.house import House
from kelpie.api.letta.templates import DeployIn, DoneOut, fill_in
from kelpie.api.route import Ask, Route
from kelpie.errors import NotFound
from kelpie.ids import AgentId
from kelpie.memory.lineage import Lineage


class MigrateAgentIn(Struct, frozen=True, kw_only=True):
    """To which version of which template (`name:version`), and what of the agent stays."""

    to_template: str
    preserve_core_memories: bool
    preserve_tool_variables: bool = False


class VariablesOut(Struct, frozen=True, kw_only=True):
    """What stands for the variables of the template that an agent was made of."""

    variables: dict[str, str]


async def migrate_agent(house: House, ask: Ask[None, MigrateAgentIn]) -> DoneOut:
    """Make one agent what a version of a template says, whatever it was before."""
    body, settings = ask.body, await house.roster.get_settings(AgentId(ask.path["agent_id"]))
    named = await house.templates.read(*split_version(body.to_template))
    rules = RenewalRules(keep_values=body.preserve_core_memories, keep_secrets=body.preserve_tool_variables)
    await _renew(house, named, settings, rules, if_older=False)
    return DoneOut()


async def list_variables(house: House, ask: Ask[None, None]) -> VariablesOut:
    """The variables of an agent."""
    settings = await house.roster.get_settings(AgentId(ask.path["agent_id"]))
    return VariablesOut(variables=dict(settings.variables))


async def renew_agent(house: House, migration: Migration, settings: AgentSettings) -> None:
    """Make an agent what the version says, if it is older. Raises NotFound (there is no such agent in it), Refused."""
    named = await house.templates.read(migration.template_name, str(migration.version))
    if named.template.id != migration.template_id:
        raise NotFound(f"Template with id '{migration.template_id}' not found", id=migration.template_id)
    if is_older(settings, _lineage(named)):
        await _renew(house, named, settings, migration.rules, if_older=True)


async def _renew(house: House, named: Named, settings: AgentSettings, rules: RenewalRules, *, if_older: bool) -> None:
    file = msgspec.json.decode(bytes(named.content), type=AgentFile)
    fill_in(file, DeployIn(memory_variables=dict(settings.variables)))
    file = _only(file, settings)
    lineage = msgspec.structs.replace(_lineage(named), entity_id=file.agents[0]["id"])
    given = msgspec.structs.replace(lineage, deployment_id=settings.lineage.deployment_id)
    plan = await understand(house, file, ImportOptions(override_existing_tools=False, lineage=given, opening=()))
    await make_tools(house, plan)
    renewal = Renewal(
        new=plan.agents[0].new,
        blocks=tuple(plan.blocks[short] for short in file.agents[0].get("block_ids") or ()),
        valueless=frozenset(key for key, value in _secrets(file.agents[0]).items() if not value),
        lineage=lineage,
        rules=rules,
        if_older=if_older,
    )
    assert len(plan.agents) == 1
    assert lineage.entity_id
    await Renewals(house.records, house.tools, house.world).renew(settings.id, renewal)


def _lineage(named: Named) -> Lineage:
    return Lineage(template_id=name_of(named.template, named.version), base_template_id=named.template.id)


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


ROUTES = (
    Route(
        method="POST",
        path="/v1/agents/{agent_id}/migrate",
        name="migrate_agent",
        summary="Make an agent what a version of a template says",
        tag="hosted",
        handler=migrate_agent,
        body=MigrateAgentIn,
        answer=DoneOut,
        refusals=(400, 404, 409),
    ),
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/core-memory/variables",
        name="list_variables",
        summary="Show what stands for the variables of an agent's template",
        tag="hosted",
        handler=list_variables,
        answer=VariablesOut,
        refusals=(404,),
    ),
)
