"""A tool server of somebody else, by the official SDK: arguments `stdio`, `streamable-http PORT` or `sse PORT`.

It counts its calls, so that a test sees whether two calls reached the same process.
"""

import asyncio
import os
import sys

from mcp import types
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("tests", log_level="ERROR")
calls = 0
changed = "changed" in sys.argv  # then one tool is gone, and one is described anew


@server.tool(description="Changed." if changed else None, annotations=types.ToolAnnotations(read_only_hint=True))
def count() -> str:
    """How often this process was called."""
    global calls
    calls += 1
    return f"call {calls} of {os.getpid()}"


@server.tool()
def repeat(text: str, times: int = 1) -> str:
    """Say something several times."""
    return " ".join([text] * times)


@server.tool()
def environment(name: str) -> str:
    """The value of a variable, or nothing."""
    return os.environ.get(name, "")


@(server.tool() if not changed else lambda function: function)
def fail(reason: str) -> str:
    """Fail for a reason."""
    raise ToolError(reason)


@server.tool()
async def linger(seconds: float) -> str:
    """Answer late."""
    await asyncio.sleep(seconds)
    return "late"


@server.tool()
def leave() -> str:
    """End the process in the middle of the call."""
    os._exit(3)


if __name__ == "__main__":
    kind = sys.argv[1]
    if kind == "broken":
        print("no such database", file=sys.stderr)
        sys.exit(4)
    if kind == "stdio":
        server.run("stdio")
    else:
        server.run(kind, host="127.0.0.1", port=int(sys.argv[2]))  # type: ignore
