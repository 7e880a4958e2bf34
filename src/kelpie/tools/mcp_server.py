"""An MCP server without a wire: messages go in as bytes and come out as bytes, whoever carries them.

It speaks every released revision. Up to 2025-11-25 a client shakes hands first; from 2026-07-28 on every request
carries its revision in `_meta`, so the server keeps nothing between requests and needs no session. The tools work on
a context that each caller brings, for instance one agent's memory. Callers in this process use `call_tool`: the same
checks without the JSON.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from kelpie.errors import InvalidInput, KelpieError
from kelpie.limits import MCP_BATCH_MAX, MCP_PAGE_TOOLS
from kelpie.tools.schema import check_arguments
from kelpie.tools.tool import Tool, ToolOutcome, clip_outcome

HANDSHAKE_REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
STATELESS_REVISIONS = ("2026-07-28",)
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
UNSUPPORTED_REVISION = -32022

C = TypeVar("C")
_NOTHING = Raw(b"{}")


class ServedTool(Struct, Generic[C], frozen=True, kw_only=True):
    """A tool and what runs it. `destructive`: it may overwrite or remove, not only add (MCP's hint)."""

    tool: Tool
    title: str
    destructive: bool
    run: Callable[[C, Raw], Awaitable[ToolOutcome]]  # the arguments are checked before it is called


class _Meta(Struct, frozen=True, rename={"revision": "io.modelcontextprotocol/protocolVersion"}):
    revision: str | None = None
    capabilities: Raw | UnsetType = msgspec.field(name="io.modelcontextprotocol/clientCapabilities", default=UNSET)


class _Params(Struct, frozen=True):
    meta: _Meta = msgspec.field(name="_meta", default=_Meta())


class _Request(Struct, frozen=True):
    jsonrpc: str
    method: str
    id: int | str | UnsetType = UNSET
    params: Raw = _NOTHING


class _Initialize(Struct, frozen=True):
    revision: str = msgspec.field(name="protocolVersion")


class _ListTools(Struct, frozen=True):
    cursor: str | None = None


class _CallTool(Struct, frozen=True):
    name: str
    arguments: Raw = _NOTHING


class _ServerInfo(Struct, frozen=True):
    name: str
    version: str


class _Capabilities(Struct, frozen=True):
    tools: Raw = Raw(b'{"listChanged":false}')


class _Initialized(Struct, frozen=True, rename="camel", omit_defaults=True):
    protocol_version: str
    capabilities: _Capabilities
    server_info: _ServerInfo
    instructions: str | None = None


class _ResultMeta(Struct, frozen=True):
    server_info: _ServerInfo = msgspec.field(name="io.modelcontextprotocol/serverInfo")


class _Result(Struct, frozen=True, kw_only=True, rename="camel"):
    """What results of the stateless revisions carry; UNSET in those of the others."""

    result_type: str | UnsetType = UNSET
    meta: _ResultMeta | UnsetType = msgspec.field(name="_meta", default=UNSET)


class _Cached(_Result, frozen=True, kw_only=True, rename="camel"):
    ttl_ms: int | UnsetType = UNSET
    cache_scope: str | UnsetType = UNSET


class _Discovered(_Cached, frozen=True, kw_only=True, rename="camel"):
    supported_versions: tuple[str, ...]
    capabilities: _Capabilities
    instructions: str | UnsetType = UNSET


class _Annotations(Struct, frozen=True, kw_only=True, rename="camel"):
    title: str
    read_only_hint: bool
    destructive_hint: bool
    idempotent_hint: bool
    open_world_hint: bool


class _ListedTool(Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    title: str
    description: str
    input_schema: Raw
    annotations: _Annotations


class _Listed(_Cached, frozen=True, kw_only=True, rename="camel"):
    tools: tuple[_ListedTool, ...]
    next_cursor: str | UnsetType = UNSET


class _Text(Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class _Called(_Result, frozen=True, kw_only=True, rename="camel"):
    content: tuple[_Text, ...]
    is_error: bool


class _Error(Struct, frozen=True, omit_defaults=True):
    code: int
    message: str
    data: Raw | None = None


class _Reply(Struct, frozen=True, kw_only=True):
    jsonrpc: str = "2.0"
    id: int | str | None
    result: Struct | Raw | UnsetType = UNSET
    error: _Error | UnsetType = UNSET


class _Failed(Exception):
    """The request is answered with this error."""

    def __init__(self, code: int, message: str, data: Raw | None = None) -> None:
        super().__init__(message)
        self.error = _Error(code, message, data)


class McpServer(Generic[C]):
    """Serves a fixed list of tools."""

    def __init__(
        self,
        *,
        name: str,
        version: str,
        instructions: str,
        tools: Sequence[ServedTool[C]],
        page_tools: int = MCP_PAGE_TOOLS,
    ) -> None:
        assert page_tools > 0
        self._info = _ServerInfo(name, version)
        self._instructions = instructions
        self._tools = {served.tool.name: served for served in tools}
        self._page_tools = page_tools
        assert len(self._tools) == len(tools), "names are unique"

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What is served, in the order of `tools/list`."""
        return tuple(served.tool for served in self._tools.values())

    async def call_tool(self, name: str, arguments_text: str, context: C) -> ToolOutcome:
        """Check the arguments and run the tool; what is wrong with them is an outcome that the model can read.

        Raises InvalidInput for an unknown name, and what the tool's context raises.
        """
        served = self._tools.get(name)
        if served is None:
            raise InvalidInput(f"there is no tool '{name}' here", field="name")
        arguments = check_arguments(served.tool, arguments_text)
        if isinstance(arguments, str):
            return ToolOutcome(text=f"{name} was not called: {arguments}.", ok=False)
        return clip_outcome(await served.run(context, arguments), served.tool.return_chars_max)

    async def handle(self, message: bytes, context: C) -> bytes | None:
        """Answer one JSON-RPC message, or a batch of them; None when none of them wants an answer."""
        if not message.lstrip().startswith(b"["):
            reply = await self._answer(message, context)
            return None if reply is None else msgspec.json.encode(reply)
        try:
            batch = msgspec.json.decode(message, type=list[Raw])
        except (msgspec.MsgspecError, RecursionError) as error:
            return msgspec.json.encode(_Reply(id=None, error=_Error(PARSE_ERROR, f"not JSON: {error}")))
        if not 0 < len(batch) <= MCP_BATCH_MAX:
            text = f"a batch has 1 to {MCP_BATCH_MAX} messages"
            return msgspec.json.encode(_Reply(id=None, error=_Error(INVALID_REQUEST, text)))
        replies = [await self._answer(bytes(one), context) for one in batch]
        wanted = [reply for reply in replies if reply is not None]
        return msgspec.json.encode(wanted) if wanted else None

    async def _answer(self, message: bytes, context: C) -> _Reply | None:
        request = _read_request(message)
        if isinstance(request, _Error):
            return _Reply(id=None, error=request)
        if isinstance(request.id, UnsetType):
            return None  # notifications change nothing here
        try:
            return _Reply(id=request.id, result=await self._dispatch(request, context))
        except _Failed as failed:
            return _Reply(id=request.id, error=failed.error)
        except KelpieError as error:
            return _Reply(id=request.id, error=_Error(INTERNAL_ERROR, error.sentence, _data({"code": error.code})))

    async def _dispatch(self, request: _Request, context: C) -> Struct | Raw:
        if request.method == "initialize":
            return self._initialize(_read(request.params, _Initialize))
        stateless = _is_stateless(_read(request.params, _Params).meta)
        match request.method:
            case "tools/list":
                return self._list(_read(request.params, _ListTools), stateless)
            case "tools/call":
                return await self._call(_read(request.params, _CallTool), context, stateless)
            case "server/discover" if stateless:
                return self._discover()
            case "ping" if not stateless:
                return _NOTHING
            case _:
                raise _Failed(METHOD_NOT_FOUND, f"there is no method '{request.method[:80]}' here")

    def _initialize(self, asked: _Initialize) -> _Initialized:
        revision = asked.revision if asked.revision in HANDSHAKE_REVISIONS else HANDSHAKE_REVISIONS[-1]
        return _Initialized(revision, _Capabilities(), self._info, self._instructions)

    def _discover(self) -> _Discovered:
        return _Discovered(
            supported_versions=STATELESS_REVISIONS,
            capabilities=_Capabilities(),
            instructions=self._instructions,
            result_type="complete",
            meta=_ResultMeta(self._info),
            ttl_ms=0,
            cache_scope="private",
        )

    def _list(self, asked: _ListTools, stateless: bool) -> _Listed:
        names = list(self._tools)
        if asked.cursor is not None and asked.cursor not in self._tools:
            raise _Failed(INVALID_PARAMS, "the cursor is none that this server gave")
        start = 0 if asked.cursor is None else names.index(asked.cursor)
        page = names[start : start + self._page_tools]
        left = names[start + len(page) : start + len(page) + 1]
        return _Listed(
            tools=tuple(_show(self._tools[name]) for name in page),
            next_cursor=left[0] if left else UNSET,
            result_type="complete" if stateless else UNSET,
            meta=_ResultMeta(self._info) if stateless else UNSET,
            ttl_ms=0 if stateless else UNSET,
            cache_scope="private" if stateless else UNSET,
        )

    async def _call(self, asked: _CallTool, context: C, stateless: bool) -> _Called:
        try:
            outcome = await self.call_tool(asked.name, bytes(asked.arguments).decode(), context)
        except InvalidInput as error:
            raise _Failed(INVALID_PARAMS, error.sentence) from error
        return _Called(
            content=(_Text(outcome.text),),
            is_error=not outcome.ok,
            result_type="complete" if stateless else UNSET,
            meta=_ResultMeta(self._info) if stateless else UNSET,
        )


P = TypeVar("P", bound=Struct)


def _read_request(message: bytes) -> _Request | _Error:
    try:
        request = msgspec.json.decode(message, type=_Request)
    except msgspec.ValidationError as error:
        return _Error(INVALID_REQUEST, f"not a JSON-RPC request: {error}")
    except (msgspec.DecodeError, RecursionError) as error:
        return _Error(PARSE_ERROR, f"not JSON: {error}")
    if request.jsonrpc != "2.0":
        return _Error(INVALID_REQUEST, 'jsonrpc must be "2.0"')
    return request


def _read(params: Raw, kind: type[P]) -> P:
    try:
        return msgspec.json.decode(params, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _Failed(INVALID_PARAMS, f"params: {error}") from error


def _is_stateless(meta: _Meta) -> bool:
    """Whether the request is of a revision without handshake; it fails if that revision is unknown or incomplete."""
    if meta.revision is None:
        return False
    if meta.revision not in STATELESS_REVISIONS:
        data = _data({"supported": STATELESS_REVISIONS, "requested": meta.revision})
        raise _Failed(UNSUPPORTED_REVISION, f"revision '{meta.revision[:40]}' is not spoken here", data)
    if meta.capabilities is UNSET:
        raise _Failed(INVALID_PARAMS, "_meta lacks io.modelcontextprotocol/clientCapabilities")
    return True


def _data(fields: dict[str, str | tuple[str, ...]] | dict[str, str]) -> Raw:
    return Raw(msgspec.json.encode(fields))


def _show(served: ServedTool[C]) -> _ListedTool:
    tool = served.tool
    return _ListedTool(
        name=tool.name,
        title=served.title,
        description=tool.description,
        input_schema=tool.parameters,
        annotations=_Annotations(
            title=served.title,
            read_only_hint=tool.read_only,
            destructive_hint=served.destructive,
            idempotent_hint=tool.idempotent,
            open_world_hint=False,
        ),
    )
