"""What a tool server of somebody else is, and the seam behind which it is spoken to.

The real part is `mcp_sdk.py` (the official SDK over stdio, streamable HTTP and SSE), which takes the better part of a
second to import and is therefore loaded when the first server is connected to.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Raw, Struct

from kelpie.tools.tool import ToolOutcome


class StdioTarget(Struct, frozen=True, kw_only=True, tag="stdio"):
    """A program to be started, spoken to over its standard streams."""

    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()  # beside the few variables that every program gets


class HttpTarget(Struct, frozen=True, kw_only=True, tag="http"):
    """A server to be reached by HTTP. `sse`: the older of the two HTTP transports."""

    url: str
    sse: bool = False
    headers: tuple[tuple[str, str], ...] = ()


Target = StdioTarget | HttpTarget


class OfferedTool(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tool as its server offers it. `read_only` and `idempotent` are the server's own word for it."""

    name: str
    title: str | None = None
    description: str = ""
    parameters: Raw
    output: Raw | None = None
    read_only: bool = False
    idempotent: bool = False
    destructive: bool = True


class Login(Protocol):
    """How a person is asked for access, and where what they gave is kept: `load` and `save` hold one text each way."""

    @property
    def callback_url(self) -> str:
        """Where the person's browser is sent back to."""
        ...

    @property
    def wait_ms_max(self) -> int:
        """How long connecting may take, the person's part included."""
        ...

    async def ask(self, url: str) -> None:
        """Have the person visit `url`. Raises LoginNeeded when nobody is there to be asked."""
        ...

    async def answered(self) -> tuple[str, str | None]:
        """The code and the state that the person's browser brought back."""
        ...

    async def load(self, name: str) -> str | None:
        """What was saved under `name`."""
        ...

    async def save(self, name: str, text: str) -> None:
        """Keep `text` under `name`, secretly."""
        ...


class McpSession(Protocol):
    """A connection to one server, through which several calls may be under way at once."""

    @property
    def era(self) -> str:
        """The protocol revision that the server speaks; given to the next connection, which then need not ask."""
        ...

    async def list_tools(self) -> Sequence[OfferedTool]:
        """Everything that it offers. Raises ToolServerUnavailable."""
        ...

    async def call(self, name: str, arguments: Raw) -> ToolOutcome:
        """Call a tool. Raises ToolServerUnavailable: whether the call had its effect is not known."""
        ...


Connect = Callable[[Target, Login | None, str | None], AbstractAsyncContextManager[McpSession]]
"""Connects to a target; the third argument is its era, if known. Raises ToolServerUnavailable on the way in or out."""

Load = Callable[[], Awaitable[Connect]]
"""Gives the Connect when it is needed."""
