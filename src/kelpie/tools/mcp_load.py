"""Loads the real wire to tool servers when the first of them is connected to.

Importing the SDK takes 0.7 s of CPU and 45 MiB (Python 3.11), which most servers never need; a thread does it, so that
everybody else is served meanwhile.
"""

import asyncio
import importlib

from kelpie.errors import ToolServerUnavailable
from kelpie.tools.mcp_servers import ToolServerPolicy
from kelpie.tools.mcp_wire import Connect, Load

SDK_ROOM = "kelpie.tools.mcp_sdk"


def load_sdk(policy: ToolServerPolicy) -> Load:
    """A Load of the SDK's wire under that policy."""

    async def load() -> Connect:
        room = await asyncio.to_thread(importlib.import_module, SDK_ROOM)
        return room.connector(policy.hosts)

    return load


async def load_nothing() -> Connect:
    """The Load of a node that reaches no tool servers."""
    raise ToolServerUnavailable("this node reaches no tool servers")
