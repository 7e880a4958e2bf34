"""Code that a model writes and that calls the agent's tools itself, many of them between two of the model's replies.

It runs in a process of the sandbox, with what a tool from source is given: the agent's secrets, the variables and
packages of the sandbox. A tool from Python source is loaded in the same process. Any other is called back on this
server as any client calls it, which takes the server's address among the agent's secrets. A tool that a person must
allow is not lent: what the code does within its one call, nobody can be asked about.
"""

from collections.abc import Collection, Sequence

from msgspec import Struct

from kelpie.agent.own_tools import STATE_WORD, OwnTools
from kelpie.agent.roster import not_found
from kelpie.agent.rules import ApprovalRule
from kelpie.agent.state import AGENTS
from kelpie.ids import AgentId
from kelpie.storage.records import Records
from kelpie.tools.function import ServedBox, serve_function
from kelpie.tools.sources import LentTool, show_script
from kelpie.tools.tool import Source, Tool, ToolOutcome
from kelpie.tools.toolbox import ToolCatalog

RUN_CODE_WITH_TOOLS = "run_code_with_tools"


class CodeDesk(Struct, frozen=True, kw_only=True):
    """What the tool works with, and who calls."""

    records: Records
    catalog: ToolCatalog
    own_tools: OwnTools
    agent_id: AgentId


def code_box(records: Records, catalog: ToolCatalog, own_tools: OwnTools) -> ServedBox[CodeDesk]:
    """The tool."""
    served = serve_function(run_code_with_tools, CodeDesk, kind="builtin", title="Run code", destructive=True)
    return ServedBox(
        [served],
        lambda request: CodeDesk(records=records, catalog=catalog, own_tools=own_tools, agent_id=request.agent_id),
    )


async def run_code_with_tools(desk: CodeDesk, /, code: str) -> ToolOutcome:
    """Run Python that calls your tools: each of them is a function of its name, which takes the tool's arguments.

    Use it where you would call many tools and look at little of what they return. Answers with what the code printed
    and the value of its last line. Nothing is kept from one run to the next. A tool that a user must allow cannot be
    called so.

    Args:
    code: The Python code.
    """
    found = await desk.records.get(AGENTS.at(desk.agent_id))
    if found is None:
        raise not_found(desk.agent_id)
    settings = found.value
    asking = [rule.tool for rule in settings.tool_rules if isinstance(rule, ApprovalRule)]
    tools = await desk.catalog.present(settings.tools)
    ended = await desk.own_tools.run_script(settings, code, lend(tools, asking))
    return show_script(ended)


def lend(tools: Sequence[Tool], asking: Collection[str]) -> tuple[LentTool, ...]:
    """What the code may call, by names that Python can say, and how. Pure."""
    lent = []
    for tool in tools:
        if not tool.name.isidentifier():
            continue
        source, why_not = tool.source, ""
        if tool.name in asking:
            why_not = "a user must allow each call of it: call it by itself"
        elif tool.name == RUN_CODE_WITH_TOOLS:
            why_not = "code does not run itself"
        is_here = source is not None and not why_not and _is_whole(tool.name, source)
        lent.append(LentTool(tool=tool, why_not=why_not, is_here=is_here))
    assert len({one.tool.name for one in lent}) == len(lent)
    return tuple(lent)


def _is_whole(name: str, source: Source) -> bool:
    """Whether the source alone makes the tool's function, without its agent's state."""
    return source.language == "python" and f"def {name}(" in source.code and STATE_WORD not in source.code
