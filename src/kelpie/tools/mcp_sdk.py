"""Tool servers spoken to with the official MCP SDK: the real part of the seam in `mcp_wire.py`.

Whatever goes wrong on the way, a server's garbage included, comes out as ToolServerUnavailable in one sentence. HTTP
goes through a transport that reaches admitted addresses only. What a started program writes to its standard error is
kept, and its end is told when the program does not come up.
"""

import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import IO, Any, cast

import httpx2
import msgspec
from mcp import MCPError, StdioServerParameters, types
from mcp.client import Client, Transport
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from msgspec import Raw
from pydantic import AnyUrl, ValidationError

from kelpie import __version__
from kelpie.errors import ToolServerUnavailable
from kelpie.limits import MCP_CONNECT_MS, MCP_STDERR_CHARS_KEPT, MCP_TOOLS_PER_SERVER_MAX, TOOL_DEADLINE_MS
from kelpie.tools.mcp_wire import Connect, HttpTarget, Login, McpSession, OfferedTool, StdioTarget, Target
from kelpie.tools.public_hosts import GuardedTransport, HostPolicy, resolve_host
from kelpie.tools.tool import ToolOutcome

LIST_PAGES_MAX = 64
HANDSHAKE = "legacy"
_ENCODER = msgspec.json.Encoder()


class SdkSession:
    """A connection; implements `mcp_wire.McpSession`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        discovered = client.session.discover_result is not None
        self._era = client.protocol_version if discovered else HANDSHAKE

    @property
    def era(self) -> str:
        """The SDK's word for how to connect again: a revision without handshake, or `legacy`."""
        return self._era

    async def list_tools(self) -> Sequence[OfferedTool]:
        """Everything that the server offers, page by page."""
        offered: list[OfferedTool] = []
        cursor: str | None = None
        with _told("list its tools"):
            for _ in range(LIST_PAGES_MAX):
                page = await self._client.list_tools(cursor=cursor, cache_mode="bypass")
                offered += [_offered(tool) for tool in page.tools]
                cursor = page.next_cursor
                if cursor is None or len(offered) > MCP_TOOLS_PER_SERVER_MAX:
                    return offered
        raise ToolServerUnavailable(f"the tool server lists its tools on more than {LIST_PAGES_MAX} pages")

    async def call(self, name: str, arguments: Raw) -> ToolOutcome:
        """Call a tool; its own failure is an outcome."""
        given = msgspec.json.decode(arguments)
        assert isinstance(given, dict), "arguments are a JSON object"
        with _told(f"call '{name}'"):
            result = await self._client.call_tool(name, given, read_timeout_seconds=TOOL_DEADLINE_MS / 1000)
        return _outcome(result)


def connector(policy: HostPolicy) -> Connect:
    """The Connect of this wire."""

    def connect(target: Target, login: Login | None, era: str | None) -> AbstractAsyncContextManager[McpSession]:
        return _connected(policy, target, login, era)

    return connect


@asynccontextmanager
async def _connected(
    policy: HostPolicy, target: Target, login: Login | None, era: str | None
) -> AsyncIterator[McpSession]:
    with _errors_kept() as errors, _told("connect", errors):
        async with _transport(policy, target, login, errors) as transport:
            info = types.Implementation(name="kelpie", version=__version__)
            mode = cast(Any, era or "auto")
            async with Client(transport, client_info=info, mode=mode, cache=None) as client:
                yield SdkSession(client)


@asynccontextmanager
async def _transport(
    policy: HostPolicy, target: Target, login: Login | None, errors: IO[str]
) -> AsyncIterator[Transport]:
    """The way to the server, not yet open."""
    match target:
        case StdioTarget():
            program = StdioServerParameters(command=target.command, args=list(target.args), env=dict(target.env))
            yield cast(Transport, stdio_client(program, errlog=cast(Any, errors)))
        case HttpTarget(sse=True):
            make = _client_maker(policy, target, login)
            auth = None if login is None else _oauth(target.url, login)
            yield cast(Transport, sse_client(target.url, httpx_client_factory=make, auth=auth))
        case HttpTarget():
            async with _client_maker(policy, target, login)() as http:
                yield cast(Transport, streamable_http_client(target.url, http_client=http))


def _client_maker(policy: HostPolicy, target: HttpTarget, login: Login | None) -> Any:
    def make(
        headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
    ) -> httpx2.AsyncClient:
        waits = httpx2.Timeout(MCP_CONNECT_MS / 1000, read=None)  # calls have deadlines of their own
        transport = GuardedTransport(httpx2.AsyncHTTPTransport(trust_env=False), policy, resolve_host)
        if auth is None and login is not None:
            auth = _oauth(target.url, login)
        return httpx2.AsyncClient(
            transport=transport, headers=[*(headers or {}).items(), *target.headers], auth=auth, timeout=waits
        )

    return make


class _Storage:
    """What the SDK keeps of a login, kept by whoever asked for it."""

    def __init__(self, login: Login) -> None:
        self._login = login

    async def get_tokens(self) -> OAuthToken | None:
        """The tokens of an earlier login."""
        text = await self._login.load("tokens")
        return None if text is None else OAuthToken.model_validate_json(text)

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep the tokens."""
        await self._login.save("tokens", tokens.model_dump_json())

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """How this server registered itself earlier."""
        text = await self._login.load("client")
        return None if text is None else OAuthClientInformationFull.model_validate_json(text)

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep the registration."""
        await self._login.save("client", client_info.model_dump_json())


def _oauth(url: str, login: Login) -> OAuthClientProvider:
    async def answered() -> AuthorizationCodeResult:
        code, state = await login.answered()
        return AuthorizationCodeResult(code=code, state=state)

    metadata = OAuthClientMetadata(
        client_name="Kelpie", redirect_uris=[AnyUrl(login.callback_url)], token_endpoint_auth_method="none"
    )
    return OAuthClientProvider(url, metadata, _Storage(login), redirect_handler=login.ask, callback_handler=answered)


@contextmanager
def _errors_kept() -> Iterator[IO[str]]:
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        yield errors


@contextmanager
def _told(deed: str, errors: IO[str] | None = None) -> Iterator[None]:
    """Whatever fails inside, in one sentence."""
    try:
        yield
    except (MCPError, OAuthFlowError, httpx2.HTTPError, OSError, ValidationError, ValueError, RuntimeError) as error:
        raise ToolServerUnavailable(_sentence(deed, error, errors)) from error
    except ExceptionGroup as group:
        if group.subgroup(AssertionError) is not None:
            raise
        known = group.subgroup(ToolServerUnavailable)
        if known is not None:
            raise _first(known) from group
        raise ToolServerUnavailable(_sentence(deed, _first(group), errors)) from group


def _sentence(deed: str, error: BaseException, errors: IO[str] | None) -> str:
    said = str(error).strip() or type(error).__name__
    sentence = f"the tool server could not {deed}: {said[:500]}"
    if errors is None:
        return sentence
    errors.seek(0)
    written = errors.read().strip()
    return sentence if not written else f"{sentence}; it wrote: {written[-MCP_STDERR_CHARS_KEPT:]}"


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def _offered(tool: types.Tool) -> OfferedTool:
    hints = tool.annotations or types.ToolAnnotations()
    return OfferedTool(
        name=tool.name,
        title=tool.title,
        description=tool.description or "",
        parameters=Raw(_ENCODER.encode(tool.input_schema)),
        output=None if tool.output_schema is None else Raw(_ENCODER.encode(tool.output_schema)),
        read_only=bool(hints.read_only_hint),
        idempotent=bool(hints.idempotent_hint),
        destructive=hints.destructive_hint is not False,
    )


def _outcome(result: types.CallToolResult) -> ToolOutcome:
    """The text of a result; what is no text is named, so that the model knows that it was there."""
    texts = [_content_text(part) for part in result.content]
    if not texts and result.structured_content is not None:
        texts = [_ENCODER.encode(result.structured_content).decode()]
    return ToolOutcome(text="\n".join(texts), ok=not result.is_error)


def _content_text(part: types.ContentBlock) -> str:
    match part:
        case types.TextContent():
            return part.text
        case types.ImageContent() | types.AudioContent():
            return f"[{part.type}, {part.mime_type}, {len(part.data) * 3 // 4} bytes]"
        case types.ResourceLink():
            return f"[resource {part.uri}: {part.description or part.name}]"
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return resource.text
        case types.EmbeddedResource():
            return f"[resource {part.resource.uri}, {part.resource.mime_type}]"
        case _:
            return f"[{part.type}]"
