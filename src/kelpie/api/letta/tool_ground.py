"""What tools written for the retired server expect around them: names of variables, and a client if they have a key."""

import msgspec

from kelpie.agent.own_tools import Ground
from kelpie.api.letta.agent_shapes import ALL_PARTS, show_agent
from kelpie.api.letta.house import House
from kelpie.ids import AgentId

PREAMBLE = """
client = None
if "LETTA_API_KEY" in __import__("os").environ:
    try:
        client = __import__("letta_client").Letta(
            api_key=__import__("os").environ["LETTA_API_KEY"],
            base_url=__import__("os").environ.get("LETTA_BASE_URL"),
        )
    except ImportError:
        pass  # the tool has not named it among its packages
"""
CALLER = """
import json, os, urllib.error, urllib.request

def call(name, arguments):
    base = os.environ.get("LETTA_BASE_URL", "").rstrip("/")
    if not base:
        raise RuntimeError(f"{name} runs on the server, whose address is no secret of the agent: LETTA_BASE_URL")
    path = f"{base}/v1/agents/{os.environ['LETTA_AGENT_ID']}/tools/{name}/run"
    key = os.environ.get("LETTA_API_KEY", "")
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    body = json.dumps({"args": arguments}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(path, body, headers)) as answer:
            told = json.load(answer)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{name}: {error.status} {error.read().decode()}") from None
    if told["status"] != "success":
        raise RuntimeError(f"{name}: {told['func_return']}")
    return told["func_return"]
"""
GROUND = Ground(preamble=PREAMBLE, caller=CALLER, agent_variable="LETTA_AGENT_ID", tool_variable="LETTA_TOOL_ID")
SEEN_BY_TOOLS = ALL_PARTS - {"agent.secrets"}  # which they find among their variables


async def picture(house: House, agent_id: AgentId) -> bytes:
    """What an agent is just now, for a tool that asks for its state. Raises NotFound."""
    view = await house.roster.get(agent_id)
    return msgspec.json.encode(await show_agent(house, view, SEEN_BY_TOOLS))
