"""All tools there are, from several places, as one stable list."""

from collections.abc import Sequence

import msgspec

from kelpie.errors import AlreadyExists, NotFound
from kelpie.ids import ToolId
from kelpie.tools.schema import compile_schema
from kelpie.tools.tool import Tool, Toolbox, ToolOutcome, ToolRequest


class ToolCatalog:
    """Tools of boxes, and built-in ones that somebody else runs. Fixed when it is made.

    Raises AlreadyExists when two tools have the same id or name, InvalidInput when a tool's schema is none.
    """

    def __init__(self, boxes: Sequence[Toolbox], builtin: Sequence[Tool]) -> None:
        self._boxes: dict[ToolId, Toolbox] = {}
        self._by_id: dict[ToolId, Tool] = {}
        self._by_name: dict[str, Tool] = {}
        for tool in builtin:
            self._add(tool)
        for box in boxes:
            for tool in box.list_tools():
                self._add(tool)
                self._boxes[tool.id] = box
        self.tools: tuple[Tool, ...] = tuple(self._by_id.values())

    def find(self, tool_id: ToolId) -> Tool:
        """The tool of that id. Raises NotFound."""
        tool = self._by_id.get(tool_id)
        if tool is None:
            raise NotFound(f"Tool with id '{tool_id}' not found", tool_id=tool_id)
        return tool

    def find_named(self, name: str) -> Tool:
        """The tool of that name. Raises NotFound."""
        tool = self._by_name.get(name)
        if tool is None:
            raise NotFound(f"Tool '{name}' not found", tool_name=name)
        return tool

    def present(self, tool_ids: Sequence[ToolId]) -> tuple[Tool, ...]:
        """Those of the ids that are known just now, in the order given: a tool's server may be away."""
        return tuple(self._by_id[tool_id] for tool_id in tool_ids if tool_id in self._by_id)

    def is_builtin(self, tool: Tool) -> bool:
        """Whether the tool is run by whoever made the catalog, not by a box."""
        assert tool.id in self._by_id
        return tool.id not in self._boxes

    async def call(self, request: ToolRequest) -> ToolOutcome:
        """Run a tool of a box; a text longer than the tool may return is clipped and says so."""
        box = self._boxes.get(request.tool.id)
        assert box is not None, f"{request.tool.name} is not a box's tool"
        return clip_outcome(await box.call(request), request.tool.return_chars_max)

    def _add(self, tool: Tool) -> None:
        if tool.id in self._by_id or tool.name in self._by_name:
            raise AlreadyExists(f"there are two tools '{tool.name}' ({tool.id})", tool_name=tool.name)
        compile_schema(bytes(tool.parameters))
        self._by_id[tool.id] = tool
        self._by_name[tool.name] = tool


def clip_outcome(outcome: ToolOutcome, chars_max: int) -> ToolOutcome:
    """The outcome with its text cut at `chars_max`, followed by a note, and `chars_total` set; or as it was.

    What was clipped before is left alone: its note tells the true length.
    """
    assert chars_max > 0
    total = len(outcome.text)
    if total <= chars_max or outcome.chars_total is not None:
        return outcome
    note = f"\n[... clipped: {chars_max} of {total} characters are shown ...]"
    return msgspec.structs.replace(outcome, text=outcome.text[:chars_max] + note, chars_total=total)
