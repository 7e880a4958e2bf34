"""Templates on the wire: made of an agent or of an agent file, changed, saved, rolled back; agents made of them.

A template's content is an agent file without messages. Tools of a file are made when the template is; agents that are
made of it later use the tools of those names as they are then. A template of an agent names the agent's folders, which
the agents that are made of it share; folders that come in a file with their files are made for each of them anew.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from kelpie.agent.migrations import Migrations
from kelpie.agent.renewal import RenewalRules
from kelpie.agent.templates import Named, Template, name_of, split_version
from kelpie.api.errors import Malformed
from kelpie.api.letta.agent_file.first_form import to_second, without_extras
from kelpie.api.letta.agent_file.gathering import Options
from kelpie.api.letta.agent_file.reading import ImportOptions, make_tools, take_in, understand
from kelpie.api.letta.agent_file.shapes import AgentFile, Entity, read_file
from kelpie.api.letta.agent_file.writing import write_file
from kelpie.api.letta.agent_files import show_notes
from kelpie.api.letta.agent_requests import IdentityIdIn
from kelpie.api.letta.house import House
from kelpie.api.letta.identity_shapes import AgentIdIn
from kelpie.api.letta.values import micros_date
from kelpie.api.route import Ask, Noted, Route
from kelpie.errors import InvalidInput
from kelpie.ids import AgentId, IdentityId, new_id, new_uuid
from kelpie.limits import AGENT_NAME_CHARS_MAX, MESSAGES_PER_CALL_MAX, MIGRATION_POLL_MS, MIGRATION_WAIT_MS
from kelpie.memory.lineage import Lineage
from kelpie.storage.records import Batch

PROJECT_ID = "default"  # this server has one project only, which clients do not name
PROJECT_SLUG = "default"
VARIABLE = re.compile(r"\{\{\s*([^{}\s]+)\s*\}\}")
IN_AGENTS = ("system", "description")
IN_BLOCKS = ("value", "description")


class CreateTemplateIn(Struct, frozen=True, kw_only=True):
    """Of what a template is to be made."""

    type: Literal["agent", "agent_file"]
    agent_id: AgentIdIn | None = None
    agent_file: dict[str, Any] | None = None
    name: str | None = None
    update_existing_tools: bool = False


class UpdateTemplateIn(Struct, frozen=True, kw_only=True):
    """What the working state is to be."""

    agent_file_json: dict[str, Any]
    save_existing_changes: bool = False
    update_existing_tools: bool = False


class SaveTemplateIn(Struct, frozen=True, kw_only=True):
    """What is said of the version. All but the message is about agents that are migrated; their folders always stay."""

    message: str | None = None
    migrate_agents: bool = False
    preserve_environment_variables_on_migration: bool = False
    preserve_core_memories_on_migration: bool = False
    preserve_sources_on_migration: bool = False
    block_reconciliation_strategy: Literal["reconcile-all", "preserve-deleted"] = "preserve-deleted"


class RollBackIn(Struct, frozen=True, kw_only=True):
    """To which version."""

    version: str


class OpeningIn(Struct, frozen=True, kw_only=True):
    """A message that an agent begins with."""

    role: Literal["user", "system", "assistant"]
    content: str
    name: str | None = None
    otid: str | None = None
    sender_id: str | None = None
    batch_item_id: str | None = None
    group_id: str | None = None


class DeployIn(Struct, frozen=True, kw_only=True):
    """How agents of a template are to be."""

    agent_name: str | None = None
    identity_ids: list[IdentityIdIn] = []
    initial_message_sequence: Annotated[list[OpeningIn], Meta(max_length=MESSAGES_PER_CALL_MAX)] = []
    memory_variables: dict[str, str] = {}
    tags: list[str] = []
    tool_variables: dict[str, str] = {}


class TemplateOut(Struct, frozen=True, kw_only=True):
    """A template."""

    id: str
    name: str
    latest_version: str
    project_id: str
    project_slug: str
    template_deployment_slug: str
    updated_at: str
    description: str | None = None


class DoneOut(Struct, frozen=True, kw_only=True):
    """That it was done."""

    success: bool = True
    message: str | None = None


class DeployedOut(Struct, frozen=True, kw_only=True):
    """The agents that were made, and what they were made as."""

    agent_ids: list[str]
    deployment_id: str
    group_id: str | None = None


async def create_template(house: House, ask: Ask[None, CreateTemplateIn]) -> TemplateOut:
    """A new template. One that is not named gets a name of its own."""
    body = ask.body
    name = body.name or f"template-{new_uuid(house.world.entropy)[:8]}"
    if body.type == "agent":
        if body.agent_id is None:
            raise Malformed("Field required", place=("body", "agent_id"))
        options = Options(scrub_messages=True, folders_named=True)
        file = without_extras(await write_file(house, AgentId(body.agent_id), options))
        return show_template(await house.templates.create(name, await _content(house, file)))
    if body.agent_file is None:
        raise Malformed("Field required", place=("body", "agent_file"))
    file = _file(body.agent_file)
    template = await house.templates.create(name, await _content(house, file))
    await _make_tools(house, file, body.update_existing_tools)
    return show_template(template)


async def update_template(house: House, ask: Ask[None, UpdateTemplateIn]) -> DoneOut:
    """Put an agent file into the working state."""
    body = ask.body
    file = _file(body.agent_file_json)
    name, _ = split_version(ask.path["template_name"])
    await house.templates.update(name, await _content(house, file), save_first=body.save_existing_changes)
    await _make_tools(house, file, body.update_existing_tools)
    return DoneOut()


async def delete_template(house: House, ask: Ask[None, None]) -> DoneOut:
    """Remove a template with its versions; agents that were made of it stay."""
    await house.templates.delete(split_version(ask.path["template_name"])[0])
    return DoneOut()


async def save_template(house: House, ask: Ask[None, SaveTemplateIn | None]) -> TemplateOut | Noted:
    """Make a version of the working state, and, if that is asked for, have the template's agents become of it."""
    body = ask.body or SaveTemplateIn()
    name, _ = split_version(ask.path["template_name"])
    if not body.migrate_agents:
        return show_template(await house.templates.save(name, body.message))
    rules = RenewalRules(
        keep_values=body.preserve_core_memories_on_migration,
        keep_secrets=body.preserve_environment_variables_on_migration,
        drop_blocks=body.block_reconciliation_strategy == "reconcile-all",
    )
    migrations, ids = Migrations(house.records, house.world), list[str]()

    def begin(batch: Batch, saved: Template) -> None:
        ids.append(migrations.begin(batch, saved, rules))

    template = await house.templates.save(name, body.message, begin)
    return Noted(show_template(template), await _follow(house, migrations, template, ids[-1]))


async def roll_back_template(house: House, ask: Ask[None, RollBackIn]) -> DoneOut:
    """Make a saved version the working state; what is not saved there becomes a version before."""
    name, _ = split_version(ask.path["template_name"])
    await house.templates.roll_back(name, ask.body.version)
    return DoneOut()


async def create_agents_from_template(house: House, ask: Ask[None, DeployIn | None]) -> Noted:
    """Make the agents that stand in a version of a template, variables filled in."""
    body = ask.body or DeployIn()
    name, version = split_version(ask.path["template_version"])
    named = await house.templates.read(name, version)
    deployment_id = new_id("deployment", house.world.entropy)
    file = fill_in(msgspec.json.decode(bytes(named.content), type=AgentFile), body)
    _name(file, body.agent_name or f"{named.template.name}-{new_uuid(house.world.entropy)[:8]}")
    taken = await take_in(house, file, _options(named, body, deployment_id))
    for file_id in taken.file_ids:
        await house.door.nudge(file_id)
    made = DeployedOut(
        agent_ids=list(taken.agent_ids),
        deployment_id=deployment_id,
        group_id=taken.group_ids[0] if taken.group_ids else None,
    )
    return Noted(made, show_notes(taken.notes))


def fill_in(file: AgentFile, body: DeployIn) -> AgentFile:
    """The file with its variables filled in; those that are not given stay as they are written."""
    for entity in file.agents:
        _fill(entity, IN_AGENTS, body.memory_variables)
        entity["tags"] = list(dict.fromkeys([*(entity.get("tags") or ()), *body.tags]))
        entity["secrets"] = {**(entity.get("secrets") or {}), **dict.fromkeys(body.tool_variables, "")}
    for entity in file.blocks:
        _fill(entity, IN_BLOCKS, body.memory_variables)
    return file


def show_template(template: Template) -> TemplateOut:
    """As the wire has it."""
    latest = str(len(template.versions))
    return TemplateOut(
        id=template.id,
        name=template.name,
        latest_version=latest,
        project_id=PROJECT_ID,
        project_slug=PROJECT_SLUG,
        template_deployment_slug=f"{PROJECT_SLUG}/{template.name}:{latest}",
        updated_at=micros_date(template.updated_at_us),
    )


async def _follow(house: House, migrations: Migrations, template: Template, migration_id: str) -> str | None:
    """Wait for the migration for a while; what is to be said of it. It goes on by itself, whoever waits or not."""
    await house.door.nudge(migration_id)
    try:
        async with asyncio.timeout(MIGRATION_WAIT_MS / 1000):
            while not await migrations.is_over(migration_id):  # until the time is over
                await asyncio.sleep(MIGRATION_POLL_MS / 1000)
    except TimeoutError:
        return "the agents of the template are still being changed"
    last = await migrations.last(template.id)
    if last is None or last.version != len(template.versions) or not last.refused:
        return None
    return f"{last.refused} agents were not changed; the first of them is {last.sentence}"


def _options(named: Named, body: DeployIn, deployment_id: str) -> ImportOptions:
    template = named.template
    lineage = Lineage(
        template_id=name_of(template, named.version), base_template_id=template.id, deployment_id=deployment_id
    )
    return ImportOptions(
        override_existing_tools=False,
        secrets=body.tool_variables,
        append_copy_suffix=False,
        identity_ids=tuple(IdentityId(one) for one in dict.fromkeys(body.identity_ids)),
        lineage=lineage,
        variables=body.memory_variables,
        opening=tuple(msgspec.to_builtins(message) for message in body.initial_message_sequence),
    )


def _name(file: AgentFile, name: str) -> None:
    """The first agent is called that; the others of its groups are told apart by their own names."""
    for at, entity in enumerate(file.agents):
        entity["name"] = name if at == 0 else f"{name}-{entity.get('name')}"[:AGENT_NAME_CHARS_MAX]


def _fill(entity: Entity, fields: tuple[str, ...], variables: Mapping[str, str]) -> None:
    for field in fields:
        text = entity.get(field)
        if isinstance(text, str):
            entity[field] = VARIABLE.sub(lambda found: variables.get(found[1], found[0]), text)


def _file(given: dict[str, Any]) -> AgentFile:
    """The file, in the second form, its messages left out."""
    file = read_file(msgspec.json.encode(given))
    file = file if isinstance(file, AgentFile) else to_second(file)
    if not file.agents:
        raise InvalidInput("agent_file: there is no agent in it", field="agent_file")
    for agent in file.agents:
        agent["messages"], agent["in_context_message_ids"] = [], []
    return without_extras(file)


async def _content(house: House, file: AgentFile) -> Raw:
    """The file as it is kept, once it is known that agents can be made of it."""
    content = Raw(msgspec.json.encode(file))
    await understand(house, file, ImportOptions(override_existing_tools=False))
    return content


async def _make_tools(house: House, file: AgentFile, override: bool) -> None:
    plan = await understand(house, file, ImportOptions(override_existing_tools=override))
    await make_tools(house, plan)


def _route(method: Literal["POST", "PATCH", "DELETE"], path: str, name: str, summary: str, **rest: Any) -> Route:
    return Route(method=method, path=f"/v1/templates{path}", name=name, summary=summary, tag="templates", **rest)


ROUTES = (
    _route(
        "POST",
        "",
        "create_template",
        "Make a template of an agent or an agent file",
        handler=create_template,
        body=CreateTemplateIn,
        answer=TemplateOut,
        refusals=(400, 404, 409),
    ),
    _route(
        "PATCH",
        "/{template_name}",
        "update_template",
        "Put an agent file into a template's working state",
        handler=update_template,
        body=UpdateTemplateIn,
        answer=DoneOut,
        refusals=(400, 404, 409),
    ),
    _route(
        "DELETE",
        "/{template_name}",
        "delete_template",
        "Delete a template with its versions",
        handler=delete_template,
        answer=DoneOut,
        refusals=(404, 409),
    ),
    _route(
        "POST",
        "/{template_name}/save",
        "save_template",
        "Save a template's working state as a version",
        handler=save_template,
        body=SaveTemplateIn | None,
        body_needed=False,
        answer=TemplateOut,
        refusals=(400, 404, 409),
    ),
    _route(
        "POST",
        "/{template_name}/rollback",
        "roll_back_template",
        "Make a saved version a template's working state",
        handler=roll_back_template,
        body=RollBackIn,
        answer=DoneOut,
        refusals=(400, 404, 409),
    ),
    _route(
        "POST",
        "/{template_version}/agents",
        "create_agents_from_template",
        "Make the agents of a template",
        handler=create_agents_from_template,
        body=DeployIn | None,
        body_needed=False,
        answer=DeployedOut,
        refusals=(400, 404, 409),
    ),
)
