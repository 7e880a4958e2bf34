"""Agent files on the wire: an agent is exported, a file is imported."""

from typing import Any

import msgspec
from msgspec import Struct

from kelpie.api.app import Page
from kelpie.api.errors import Malformed
from kelpie.api.form import Form
from kelpie.api.letta.agent_file.first_form import to_first, to_second, without_extras
from kelpie.api.letta.agent_file.gathering import Options
from kelpie.api.letta.agent_file.reading import ImportOptions, take_in
from kelpie.api.letta.agent_file.shapes import AgentFile, read_file
from kelpie.api.letta.agent_file.writing import write_file
from kelpie.api.letta.house import House
from kelpie.api.route import Ask, Noted, Route
from kelpie.errors import InvalidInput
from kelpie.ids import AgentId
from kelpie.limits import UPLOAD_BYTES_MAX

JSON = "application/json"
ONE_AGENT = "the first form holds one agent alone: its folders, groups and tool servers do not go along"
NOTES_NAMED_MAX = 10
BOOLEANS = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}


class ExportQuery(Struct, frozen=True, kw_only=True):
    """Which form, and what of the agent."""

    use_legacy_format: bool = False
    conversation_id: str | None = None
    scrub_messages: bool = False
    max_steps: int = 100


class SkillIn(Struct, frozen=True, kw_only=True):
    """A skill that goes into the file: its files, among them SKILL.md, or where it can be had."""

    name: str
    files: dict[str, str] | None = None
    source_url: str | None = None


class ExportIn(Struct, frozen=True, kw_only=True):
    """What of the agent is written, and what goes along."""

    skills: list[SkillIn] = []
    conversation_id: str | None = None
    scrub_messages: bool = False


class ImportedOut(Struct, frozen=True, kw_only=True):
    """The agents that were made."""

    agent_ids: list[str]


async def export_agent(house: House, ask: Ask[ExportQuery, None]) -> Page:
    """The agent as a file."""
    agent_id, query = AgentId(ask.path["agent_id"]), ask.query
    options = Options(conversation_id=query.conversation_id, scrub_messages=query.scrub_messages)
    file = await write_file(house, agent_id, options)
    if not query.use_legacy_format:
        return _page(without_extras(file))
    left_out = file.sources or file.groups or file.mcp_servers
    return _page(to_first(file, house.world.wall.now_us()), ONE_AGENT if left_out else None)


async def export_agent_with_skills(house: House, ask: Ask[None, ExportIn | None]) -> Page:
    """The agent as a file, with skills."""
    agent_id, body = AgentId(ask.path["agent_id"]), ask.body or ExportIn()
    for at, skill in enumerate(body.skills):
        if "SKILL.md" not in (skill.files or {}) and skill.source_url is None:
            sentence = "Value error, Either files (with 'SKILL.md') or source_url must be provided"
            raise Malformed(sentence, place=("body", "skills", at))
    options = Options(
        conversation_id=body.conversation_id,
        scrub_messages=body.scrub_messages,
        skills=tuple(msgspec.to_builtins(skill) for skill in body.skills),
    )
    return _page(without_extras(await write_file(house, agent_id, options)))


async def import_agent(house: House, ask: Ask[None, Form]) -> Noted:
    """A file of either form, taken in."""
    form = ask.body
    file = read_file(form.file("file").content)
    if not isinstance(file, AgentFile):
        file = to_second(file)
    taken = await take_in(house, file, read_import_options(form, ask.headers))
    for file_id in taken.file_ids:
        await house.door.nudge(file_id)
    return Noted(ImportedOut(agent_ids=list(taken.agent_ids)), show_notes(taken.notes))


def show_notes(notes: tuple[str, ...]) -> str | None:
    """What is not as the file has it, in one sentence; None where all is."""
    more = f"; and {len(notes) - NOTES_NAMED_MAX} more" if len(notes) > NOTES_NAMED_MAX else ""
    return "; ".join(notes[:NOTES_NAMED_MAX]) + more if notes else None


def read_import_options(form: Form, headers: Any) -> ImportOptions:
    """How the file is to be taken in; of the older and newer names of a field the newer one counts."""
    header = headers.get(b"x-override-embedding-model", b"").decode("latin-1")
    project = headers.get(b"x-project-id", b"").decode("latin-1")
    return ImportOptions(
        override_existing_tools=_boolean(form, "override_existing_tools", True),
        strip_messages=_boolean(form, "strip_messages", False),
        append_copy_suffix=_boolean(form, "append_copy_suffix", True),
        secrets=_secrets(_text(form, "secrets", "env_vars_json")),
        name=_text(form, "name", "override_name"),
        model=_text(form, "model", "override_model_handle"),
        embedding=_text(form, "embedding", "override_embedding_handle") or header or None,
        project_id=project or _text(form, "project_id"),
    )


def _secrets(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.MsgspecError:
        raise InvalidInput("secrets must be a valid JSON string", field="secrets") from None


def _text(form: Form, *fields: str) -> str | None:
    return next((form.fields[field] for field in fields if form.fields.get(field)), None)


def _boolean(form: Form, field: str, default: bool) -> bool:
    text = form.fields.get(field)
    if text is None or text == "":
        return default
    if text.casefold() not in BOOLEANS:
        raise Malformed("Input should be a valid boolean, unable to interpret input", place=("body", field))
    return BOOLEANS[text.casefold()]


def _page(file: Any, note: str | None = None) -> Page:
    return Page(JSON, msgspec.json.format(msgspec.json.encode(file), indent=2), note)


ROUTES = (
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/export",
        name="export_agent",
        summary="Export an agent as a file",
        tag="agents",
        handler=export_agent,
        query=ExportQuery,
        answer=AgentFile,
        refusals=(400, 404),
    ),
    Route(
        method="POST",
        path="/v1/agents/{agent_id}/export",
        name="export_agent_with_skills",
        summary="Export an agent as a file, with skills",
        tag="agents",
        handler=export_agent_with_skills,
        body=ExportIn | None,
        body_needed=False,
        answer=AgentFile,
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/v1/agents/import",
        name="import_agent",
        summary="Import agents from a file",
        tag="agents",
        handler=import_agent,
        form=True,
        body_bytes_max=UPLOAD_BYTES_MAX,
        answer=ImportedOut,
        refusals=(400, 404),
    ),
)
