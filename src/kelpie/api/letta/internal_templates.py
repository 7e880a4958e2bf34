"""Templates by the hosted service's own paths: agents, blocks and groups that say of which deployment they are.

They are agents, blocks and groups like any other; a deployment is no record, but what they have in common.
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from kelpie.agent.groups import Group
from kelpie.agent.listing import AgentFilter
from kelpie.agent.view import AgentView
from kelpie.api.errors import Malformed
from kelpie.api.letta.agent_requests import CreateAgentIn
from kelpie.api.letta.agent_shapes import AGENT_SHAPES, AgentOut
from kelpie.api.letta.agents import make_agent, remove_agent
from kelpie.api.letta.block_shapes import BlockIn, BlockOut, read_block_fields, show_block
from kelpie.api.letta.blocks import create_block
from kelpie.api.letta.group_shapes import GroupIn, GroupOut, close_group
from kelpie.api.letta.groups import create_group
from kelpie.api.letta.house import House
from kelpie.api.route import Ask, Route
from kelpie.errors import LimitExceeded, NotFound
from kelpie.limits import PAGE_ROWS_MAX
from kelpie.memory.blocks import Block, BlockFilter
from kelpie.memory.lineage import Lineage
from kelpie.storage.paging import Page

TAG = "internal"
PATH = "/v1/_internal_templates"
IDS = ("template_id", "base_template_id", "deployment_id", "entity_id")  # a group is no entity of a template
EVERYTHING = ("block", "agent", "group")


class TemplateAgentIn(CreateAgentIn, frozen=True, kw_only=True):
    """An agent to be made, and of what it is made."""

    deployment_id: str | None = None
    entity_id: str | None = None


class ListDeployment(Struct, frozen=True, kw_only=True):
    """What of a deployment; nothing said: everything."""

    entity_types: list[str] | None = None


class EntityOut(Struct, frozen=True, kw_only=True):
    """A block, an agent or a group."""

    id: str
    type: str
    name: str | None = None
    description: str | None = None
    entity_id: str | None = None
    project_id: str | None = None


class DeploymentOut(Struct, frozen=True, kw_only=True):
    """What belongs to a deployment."""

    entities: list[EntityOut]
    total_count: int
    deployment_id: str
    message: str


class DeletedDeploymentOut(Struct, frozen=True, kw_only=True):
    """The ids of what was removed."""

    deleted_blocks: list[str]
    deleted_agents: list[str]
    deleted_groups: list[str]
    message: str


class Deployment(Struct, frozen=True, kw_only=True):
    """What belongs to a deployment."""

    blocks: Sequence[Block]
    agents: Sequence[AgentView]
    groups: Sequence[Group]


async def create_template_agent(house: House, ask: Ask[None, TemplateAgentIn]) -> AgentOut:
    """A new agent of a deployment."""
    _demand(ask.body, IDS, ("body",))
    lineage = Lineage(deployment_id=ask.body.deployment_id, entity_id=ask.body.entity_id)
    return await make_agent(house, ask.body, lineage)


async def create_template_block(house: House, ask: Ask[None, BlockIn]) -> BlockOut:
    """A new block of a deployment."""
    _demand(ask.body, IDS, ("body",))
    return await create_block(house, ask)


async def create_template_blocks(house: House, ask: Ask[None, list[BlockIn]]) -> list[BlockOut]:
    """New blocks of a deployment. None is stored unless all may be."""
    for at, wire in enumerate(ask.body):
        _demand(wire, IDS, ("body", at))
    built = [house.blocks.build(**read_block_fields(wire)) for wire in ask.body]
    return [show_block(await house.blocks.store(block)) for block in built]


async def create_template_group(house: House, ask: Ask[None, GroupIn]) -> GroupOut:
    """A new group of a deployment."""
    _demand(ask.body, IDS[:-1], ("body",))
    return await create_group(house, ask)


async def list_deployment(house: House, ask: Ask[ListDeployment, None]) -> DeploymentOut:
    """What belongs to a deployment; of one that is not known, nothing."""
    deployment_id, wanted = ask.path["deployment_id"], ask.query.entity_types or EVERYTHING
    found = await _gather(house, deployment_id)
    shown = [one for one in _show(found) if one.type in wanted]
    return DeploymentOut(
        entities=shown,
        total_count=len(shown),
        deployment_id=deployment_id,
        message=f"Deployment '{deployment_id}' has {len(shown)} of what was asked for",
    )


async def delete_deployment(house: House, ask: Ask[None, None]) -> DeletedDeploymentOut:
    """Remove what belongs to a deployment: groups, then agents, then blocks."""
    deployment_id = ask.path["deployment_id"]
    found = await _gather(house, deployment_id)
    for group in found.groups:
        await close_group(house, group.id, with_members=False)
    for view in found.agents:
        try:
            await remove_agent(house, view.settings.id)
        except NotFound:
            continue  # it went with another
    for block in found.blocks:
        try:
            await house.roster.delete_block(block.id)
        except NotFound:
            continue
    return DeletedDeploymentOut(
        deleted_blocks=[block.id for block in found.blocks],
        deleted_agents=[view.settings.id for view in found.agents],
        deleted_groups=[group.id for group in found.groups],
        message=f"Deployment '{deployment_id}' is deleted",
    )


def _demand(wire: Struct, fields: tuple[str, ...], place: tuple[str | int, ...]) -> None:
    """Malformed unless it says of what it is made."""
    for field in fields:
        if getattr(wire, field) is None:
            raise Malformed("Field required", place=(*place, field), kind="missing")


async def _gather(house: House, deployment_id: str) -> Deployment:
    """Everything of it. LimitExceeded when there is more of a kind than a page has."""
    page = Page(limit=PAGE_ROWS_MAX)
    blocks = await house.blocks.list(BlockFilter(deployment_id=deployment_id), limit=PAGE_ROWS_MAX)
    agents = await house.listing.agents(AgentFilter(deployment_id=deployment_id), page, with_blocks=False)
    groups = await house.groups.all.page(page, lambda group: group.lineage.deployment_id == deployment_id)
    most = max(len(blocks.blocks), len(agents), len(groups))
    if most >= PAGE_ROWS_MAX or blocks.scanned_to is not None:
        raise LimitExceeded(
            f"deployment '{deployment_id[:80]}' has {PAGE_ROWS_MAX} blocks, agents or groups or more",
            limit="PAGE_ROWS_MAX",
            maximum=PAGE_ROWS_MAX,
        )
    return Deployment(blocks=blocks.blocks, agents=agents, groups=groups)


def _show(found: Deployment) -> list[EntityOut]:
    blocks = [_entity(one.id, "block", one.label, one.description, one.lineage) for one in found.blocks]
    settings = [view.settings for view in found.agents]
    agents = [_entity(one.id, "agent", one.name, one.description, one.lineage) for one in settings]
    groups = [_entity(one.id, "group", None, one.description, one.lineage) for one in found.groups]
    return [*blocks, *agents, *groups]


def _entity(id: str, type: str, name: str | None, description: str | None, lineage: Lineage) -> EntityOut:
    return EntityOut(
        id=id,
        type=type,
        name=name,
        description=description,
        entity_id=lineage.entity_id,
        project_id=lineage.project_id,
    )


ROUTES = (
    Route(
        method="POST",
        path=f"{PATH}/agents",
        name="create_internal_template_agent",
        summary="Create an agent of a deployment",
        tag=TAG,
        handler=create_template_agent,
        body=TemplateAgentIn,
        answer=AgentOut,
        shapes=AGENT_SHAPES,
        refusals=(400, 404, 409),
    ),
    Route(
        method="POST",
        path=f"{PATH}/blocks",
        name="create_internal_template_block",
        summary="Create a block of a deployment",
        tag=TAG,
        handler=create_template_block,
        body=BlockIn,
        answer=BlockOut,
        refusals=(400,),
    ),
    Route(
        method="POST",
        path=f"{PATH}/blocks/batch",
        name="create_internal_template_blocks",
        summary="Create blocks of a deployment",
        tag=TAG,
        handler=create_template_blocks,
        body=Annotated[list[BlockIn], Meta(max_length=PAGE_ROWS_MAX)],
        answer=list[BlockOut],
        refusals=(400,),
    ),
    Route(
        method="POST",
        path=f"{PATH}/groups",
        name="create_internal_template_group",
        summary="Create a group of a deployment",
        tag=TAG,
        handler=create_template_group,
        body=GroupIn,
        answer=GroupOut,
        refusals=(400, 404, 409),
    ),
    Route(
        method="GET",
        path=f"{PATH}/deployment/{{deployment_id}}",
        name="list_deployment",
        summary="List what belongs to a deployment",
        tag=TAG,
        handler=list_deployment,
        query=ListDeployment,
        answer=DeploymentOut,
        refusals=(400,),
    ),
    Route(
        method="DELETE",
        path=f"{PATH}/deployment/{{deployment_id}}",
        name="delete_deployment",
        summary="Delete what belongs to a deployment",
        tag=TAG,
        handler=delete_deployment,
        answer=DeletedDeploymentOut,
        refusals=(400, 409),
    ),
)
