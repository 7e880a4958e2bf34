"""Tools that people write, on the wire: made, put, changed, removed; and schemas of sources."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from kelpie.api.errors import Malformed
from kelpie.api.letta.house import House
from kelpie.api.letta.tools import KeptFields, ToolOut, show_tool
from kelpie.api.route import Ask, Route
from kelpie.errors import AlreadyExists, InvalidInput, LimitExceeded, SourceRefused
from kelpie.ids import ToolId, new_id
from kelpie.limits import (
    METADATA_BYTES_MAX,
    TAG_CHARS_MAX,
    TOOL_DESCRIPTION_CHARS_MAX,
    TOOL_RETURN_CHARS_DEFAULT,
    TOOL_RETURN_CHARS_MAX,
    TOOL_TAGS_MAX,
)
from kelpie.tools.sources import Derived, check_source, derive
from kelpie.tools.tool import Language, Requirement, Source, Tool

ReturnLimit = Annotated[int, Meta(ge=1, le=TOOL_RETURN_CHARS_MAX)]
LANGUAGES: dict[str, Language] = {"python": "python", "json": "python", "typescript": "typescript"}
DERIVED_TYPE = "json"  # what is shown as the source type where none was named


class RequirementIn(Struct, frozen=True, kw_only=True):
    """A package."""

    name: str
    version: str | None = None


class ToolSourceIn(Struct, frozen=True, kw_only=True):
    """A source and what is known of it."""

    source_code: str
    source_type: str | None = None
    json_schema: dict[str, Any] | None = None
    args_json_schema: dict[str, Any] | None = None
    pip_requirements: list[RequirementIn] | None = None
    npm_requirements: list[RequirementIn] | None = None


class ToolIn(ToolSourceIn, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool to be made, or put in the place of the one of its name."""

    description: str | None = None
    tags: list[str] | None = None
    return_char_limit: ReturnLimit = TOOL_RETURN_CHARS_DEFAULT
    default_requires_approval: bool | None = None
    enable_parallel_execution: bool | None = None


class ToolEdit(Struct, frozen=True, kw_only=True):
    """What is to change of a tool."""

    source_code: str | None = None
    source_type: str | None = None
    json_schema: dict[str, Any] | None = None
    args_json_schema: dict[str, Any] | None = None
    pip_requirements: list[RequirementIn] | None = None
    npm_requirements: list[RequirementIn] | None = None
    description: str | None = None
    tags: list[str] | None = None
    return_char_limit: ReturnLimit | None = None
    default_requires_approval: bool | None = None
    enable_parallel_execution: bool | None = None
    metadata_: dict[str, Any] | None = None


class CodeIn(Struct, frozen=True, kw_only=True):
    """A source whose schema is wanted."""

    code: str
    source_type: str | None = None


class _Schema(Struct, frozen=True, kw_only=True):
    """A function as a model is told of it."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


async def put_tool(house: House, ask: Ask[None, ToolIn]) -> ToolOut:
    """A tool from a source; one that has its name is changed. Built-in ones are not."""
    tool = await read_tool(house, ask.body)
    found = await house.tools.stored.find_named(tool.name)
    if found is None:
        try:
            return show_tool(await house.tools.create(tool))
        except AlreadyExists:
            found = await house.tools.stored.find_named(tool.name)
            if found is None:
                raise

    def put(now: Tool) -> Tool:
        if now.source is None:
            raise AlreadyExists(f"Tool with name '{tool.name}' already exists, and is not from source", name=tool.name)
        return msgspec.structs.replace(
            tool,
            id=now.id,
            created_at_us=now.created_at_us,
            tags=now.tags if ask.body.tags is None else tool.tags,
            metadata=now.metadata,
        )

    return show_tool(await house.tools.edit(ToolId(found.value.id), put))


async def modify_tool(house: House, ask: Ask[None, ToolEdit]) -> ToolOut:
    """Change a tool. A new source must keep the name, unless a schema says another."""
    tool_id, wire = ToolId(ask.path["tool_id"]), ask.body
    before = await house.tools.find(tool_id)
    derived = await _derived_again(house, before, wire)

    def change(now: Tool) -> Tool:
        changed = _with_source(now, wire, derived)
        return msgspec.structs.replace(
            changed,
            tags=now.tags if wire.tags is None else _tags(wire.tags),
            return_chars_max=wire.return_char_limit or now.return_chars_max,
            asks_approval=_or(wire.default_requires_approval, now.asks_approval),
            parallel=_or(wire.enable_parallel_execution, now.parallel),
            metadata=now.metadata if wire.metadata_ is None else _small("metadata_", wire.metadata_),
            updated_at_us=max(house.world.wall.now_us(), now.updated_at_us),
        )

    try:
        return show_tool(await house.tools.edit(tool_id, change))
    except AlreadyExists as error:
        raise InvalidInput(error.sentence, field="json_schema") from None


async def delete_tool(house: House, ask: Ask[None, None]) -> None:
    """Remove a tool; agents that have it do without."""
    await house.tools.delete(ToolId(ask.path["tool_id"]))


async def list_builtin_tools(house: House, ask: Ask[None, None]) -> list[ToolOut]:
    """The built-in tools: they are always there."""
    return [show_tool(tool) for tool in house.tools.builtin]


async def generate_schema(house: House, ask: Ask[None, CodeIn]) -> dict[str, Any]:
    """What a source says of itself."""
    if _language(ask.body.source_type) == "typescript":
        raise SourceRefused("Schema generation failed: a TypeScript source says nothing of itself; write its schema")
    derived = await derive(house.sandbox, ask.body.code)
    return {"name": derived.name, "description": derived.description, "parameters": derived.parameters}


async def read_tool(house: House, wire: ToolIn) -> Tool:
    """The tool to be made. Raises SourceRefused, InvalidInput, LimitExceeded, Malformed."""
    try:
        derived = await read_schema(house, wire)
    except SourceRefused as error:
        if not wire.source_code.strip():
            raise
        raise SourceRefused(f"Failed to derive json schema: {error.sentence}", field="source_code") from None
    now_us = house.world.wall.now_us()
    kept = KeptFields(source_type=wire.source_type or DERIVED_TYPE, json_schema=_rest(wire.json_schema))
    if wire.description is not None and wire.description != derived.description:
        kept = msgspec.structs.replace(kept, description=_text(wire.description))
    return Tool(
        id=ToolId(new_id("tool", house.world.entropy)),
        created_at_us=now_us,
        updated_at_us=now_us,
        name=derived.name,
        description=_text(derived.description),
        parameters=derived.parameters,
        kind="custom",
        return_chars_max=wire.return_char_limit,
        tags=_tags(wire.tags or []),
        asks_approval=wire.default_requires_approval,
        parallel=bool(wire.enable_parallel_execution),
        source=read_source(wire),
        wire=Raw(msgspec.json.encode(kept)),
    )


async def read_schema(house: House, wire: ToolSourceIn, name: str | None = None) -> Derived:
    """What the model is told: as the client says, else as the source does. Raises SourceRefused, Malformed."""
    check_source(wire.source_code)
    if wire.json_schema is not None:
        return _given(wire.json_schema)
    if _language(wire.source_type) == "typescript":
        raise Malformed(
            "Value error, TypeScript tools require an explicit json_schema: none is read from their source",
            place=("body",),
        )
    return await derive(house.sandbox, wire.source_code, function=name, args_schema=_object(wire.args_json_schema))


def read_source(wire: ToolSourceIn) -> Source:
    """The source. Raises LimitExceeded, InvalidInput."""
    return Source(
        code=wire.source_code,
        language=_language(wire.source_type),
        args_schema=_small("args_json_schema", wire.args_json_schema or {}),
        pip=_requirements(wire.pip_requirements),
        npm=_requirements(wire.npm_requirements),
    )


async def _derived_again(house: House, tool: Tool, wire: ToolEdit) -> Derived | UnsetType:
    """What the model is told after the edit; UNSET: the same. Raises SourceRefused, InvalidInput."""
    if wire.json_schema is not None:
        return _given(wire.json_schema)
    if wire.source_code is None and wire.args_json_schema is None:
        return UNSET
    source = tool.source
    if source is None:
        raise InvalidInput(f"the tool '{tool.name}' is not from source", field="source_code")
    code = source.code if wire.source_code is None else wire.source_code
    if source.language == "typescript":
        check_source(code)
        return UNSET
    schema = source.args_schema if wire.args_json_schema is None else _object(wire.args_json_schema)
    derived = await derive(house.sandbox, code, args_schema=schema)
    if derived.name != tool.name:
        raise SourceRefused(
            f"Tool name '{tool.name}' does not match the name in the source code, '{derived.name}'", field="source_code"
        )
    return derived


def _with_source(now: Tool, wire: ToolEdit, derived: Derived | UnsetType) -> Tool:
    source = now.source
    if source is not None:
        source = msgspec.structs.replace(
            source,
            code=source.code if wire.source_code is None else wire.source_code,
            language=source.language if wire.source_type is None else _language(wire.source_type),
            args_schema=source.args_schema if wire.args_json_schema is None else _object(wire.args_json_schema),
            pip=source.pip if wire.pip_requirements is None else _requirements(wire.pip_requirements),
            npm=source.npm if wire.npm_requirements is None else _requirements(wire.npm_requirements),
        )
    kept = msgspec.json.decode(now.wire, type=KeptFields)
    if wire.json_schema is not None:
        kept = msgspec.structs.replace(kept, json_schema=_rest(wire.json_schema))
    if wire.source_type is not None:
        kept = msgspec.structs.replace(kept, source_type=wire.source_type)
    if wire.description is not None:
        kept = msgspec.structs.replace(kept, description=_text(wire.description))
    told = {} if isinstance(derived, UnsetType) else msgspec.structs.asdict(derived)
    return msgspec.structs.replace(now, **told, source=source, wire=Raw(msgspec.json.encode(kept)))


def _given(schema: dict[str, Any]) -> Derived:
    """A schema that a client wrote. Raises InvalidInput."""
    try:
        read = msgspec.convert(schema, _Schema)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"json_schema: {error}", field="json_schema") from None
    parameters = {**read.parameters}
    parameters.setdefault("type", "object")
    parameters.setdefault("properties", {})
    return Derived(name=read.name, description=_text(read.description), parameters=Raw(msgspec.json.encode(parameters)))


def _rest(schema: dict[str, Any] | None) -> Raw:
    """What else stands in a client's schema."""
    rest = {key: value for key, value in (schema or {}).items() if key not in ("name", "description", "parameters")}
    return _small("json_schema", rest)


def _language(source_type: str | None) -> Language:
    language = LANGUAGES.get(source_type or "python")
    if language is None:
        raise SourceRefused(f"Unknown tool source type: {source_type}", field="source_type")
    return language


def _requirements(wire: list[RequirementIn] | None) -> tuple[Requirement, ...]:
    return tuple(Requirement(name=one.name, version=one.version) for one in wire or ())


def _tags(tags: list[str]) -> tuple[str, ...]:
    if len(tags) > TOOL_TAGS_MAX or any(len(tag) > TAG_CHARS_MAX for tag in tags):
        raise LimitExceeded(
            f"tags: at most {TOOL_TAGS_MAX} of at most {TAG_CHARS_MAX} characters",
            limit="TOOL_TAGS_MAX",
            maximum=TOOL_TAGS_MAX,
        )
    return tuple(dict.fromkeys(tags))


def _text(description: str) -> str:
    if len(description) > TOOL_DESCRIPTION_CHARS_MAX:
        raise LimitExceeded(
            f"description: {len(description)} characters are over the limit of {TOOL_DESCRIPTION_CHARS_MAX}",
            limit="TOOL_DESCRIPTION_CHARS_MAX",
            maximum=TOOL_DESCRIPTION_CHARS_MAX,
        )
    return description


def _object(value: dict[str, Any] | None) -> Raw:
    return _small("args_json_schema", value or {})


def _small(field: str, value: dict[str, Any]) -> Raw:
    raw = msgspec.json.encode(value)
    if len(raw) > METADATA_BYTES_MAX:
        raise LimitExceeded(
            f"{field}: {len(raw)} bytes are over the limit of {METADATA_BYTES_MAX}",
            limit="METADATA_BYTES_MAX",
            maximum=METADATA_BYTES_MAX,
        )
    return Raw(raw)


def _or(given: bool | None, now: bool | None) -> bool | None:
    return now if given is None else given


ROUTES = (
    Route(
        method="POST",
        path="/v1/tools/",
        name="create_tool",
        summary="Make a tool from source",
        tag="tools",
        handler=put_tool,
        body=ToolIn,
        answer=ToolOut,
        refusals=(400, 409),
    ),
    Route(
        method="PUT",
        path="/v1/tools/",
        name="upsert_tool",
        summary="Make a tool from source, or change the one of its name",
        tag="tools",
        handler=put_tool,
        body=ToolIn,
        answer=ToolOut,
        refusals=(400, 409),
    ),
    Route(
        method="POST",
        path="/v1/tools/add-base-tools",
        name="add_base_tools",
        summary="List the built-in tools",
        tag="tools",
        handler=list_builtin_tools,
        answer=list[ToolOut],
    ),
    Route(
        method="POST",
        path="/v1/tools/generate-schema",
        name="generate_json_schema",
        summary="The schema of a source",
        tag="tools",
        handler=generate_schema,
        body=CodeIn,
        answer=dict[str, Any],
        refusals=(400,),
    ),
    Route(
        method="PATCH",
        path="/v1/tools/{tool_id}",
        name="modify_tool",
        summary="Change a tool",
        tag="tools",
        handler=modify_tool,
        body=ToolEdit,
        answer=ToolOut,
        refusals=(400, 404, 409),
    ),
    Route(
        method="DELETE",
        path="/v1/tools/{tool_id}",
        name="delete_tool",
        summary="Remove a tool",
        tag="tools",
        handler=delete_tool,
        answer=None,
        refusals=(400, 404, 409),
    ),
)
