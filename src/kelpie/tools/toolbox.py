"""All tools there are: built-in ones, which the code brings, and stored ones, which people make; one catalogue.

A built-in tool is in one of two places. Memory tools run inside their agent's commits (`agent/memory_tools.py`). All
others come in boxes: a `Toolbox` lists its tools and runs them, told by `request.agent_id` who calls. The usual box is
a `ServedBox` over functions, whose schemas come from their signatures and docstrings:

    async def roll_die(desk: Desk, /, sides: int) -> ToolOutcome:
        \"""Roll a die.

        Args:
        sides: How many sides it has.
        \"""

    box = ServedBox(
        [serve_function(roll_die, Desk, kind="builtin", title="Roll a die", read_only=True)],
        lambda request: Desk(records, request.agent_id),
    )

`node.build_node` puts it into the catalogue: among `boxes` when that is made, or with `catalog.add_box(box)` where the
box needs what is made later (the door to other agents). Its tools then have the same ids in every installation, are
listed, given to agents by name or id, offered to the model and called. `kind` decides what the wire calls them.

A stored tool is a record `Tool` with a `source` (kind `custom`) or a `remote` place (kind `mcp`): `catalog.create`,
`edit`, `delete`, and `catalog.stored` for what else a `Collection` does. Its calls go to the runner of its kind, which
finds in `request.tool` all it needs. A tool of a kind without runner is told to be one that cannot run here.

Names are unique among all of them. Looking for built-in tools reads nothing; an agent with stored ones costs one read.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from kelpie.errors import AlreadyExists, InvalidInput, LimitExceeded, NotFound
from kelpie.ids import ToolId
from kelpie.limits import TOOL_NAME_CHARS_MAX
from kelpie.storage.collection import Collection
from kelpie.storage.paging import Page
from kelpie.storage.records import Records, Space
from kelpie.tools.schema import compile_schema
from kelpie.tools.tool import Runner, StoredKind, Tool, Toolbox, ToolOutcome, ToolRequest, clip_outcome
from kelpie.world import Entropy

TOOLS = Space("tool", Tool, large=True)  # at(tool_id)
Wanted = Callable[[Tool], bool]


class ToolCatalog:
    """Tools of boxes, those that somebody else runs (`memory`), and stored ones.

    Raises AlreadyExists when two built-in tools have the same id or name, InvalidInput when a schema is none.
    """

    def __init__(
        self,
        boxes: Sequence[Toolbox],
        memory: Sequence[Tool],
        stored: Collection[Tool],
        runners: Mapping[StoredKind, Runner],
    ) -> None:
        self.stored = stored
        self._runners = dict(runners)
        self._boxes: dict[str, Toolbox] = {}
        self._by_id: dict[str, Tool] = {}
        self._by_name: dict[str, Tool] = {}
        for tool in memory:
            self._add(tool)
        for box in boxes:
            self.add_box(box)

    def add_box(self, box: Toolbox) -> None:
        """Also these tools; before anything runs."""
        for tool in box.list_tools():
            self._add(tool)
            self._boxes[tool.id] = box

    def add_runner(self, kind: StoredKind, runner: Runner) -> None:
        """Tools of this kind are run by it; before anything runs."""
        assert kind not in self._runners
        self._runners[kind] = runner

    # -- what there is -------------------------------------------------------------------------------------

    @property
    def builtin(self) -> tuple[Tool, ...]:
        """The built-in tools, in a stable order."""
        return tuple(self._by_id.values())

    def is_builtin(self, tool_id: ToolId) -> bool:
        """Whether the code brings it."""
        return tool_id in self._by_id

    def is_memory(self, name: str) -> bool:
        """Whether calls of the tool of that name are made inside their agent's commits."""
        tool = self._by_name.get(name)
        return tool is not None and tool.id not in self._boxes

    async def find(self, tool_id: ToolId) -> Tool:
        """The tool of that id. Raises NotFound."""
        return self._by_id.get(tool_id) or (await self.stored.get(tool_id)).value

    async def find_named(self, name: str) -> Tool:
        """The tool of that name. Raises NotFound."""
        found = await self.named([name])
        if name not in found:
            raise NotFound(f"Tool '{name[:80]}' not found", tool_name=name[:80])
        return found[name]

    async def named(self, names: Sequence[str]) -> dict[str, Tool]:
        """Those of the names that there are tools of."""
        found: dict[str, Tool] = {}
        for name in names:
            tool = self._by_name.get(name)
            if tool is None:
                row = await self.stored.find_named(name)
                tool = None if row is None else row.value
            if tool is not None:
                found[name] = tool
        return found

    async def present(self, tool_ids: Sequence[ToolId]) -> tuple[Tool, ...]:
        """Those of the ids that are known just now, in the order given; a read only if some are not built in.

        A stored tool of a name that has become that of a built-in one is not among them.
        """
        elsewhere = [tool_id for tool_id in tool_ids if tool_id not in self._by_id]
        read = {tool.id: tool for tool in await self.stored.get_many(elsewhere)} if elsewhere else {}
        found = [self._by_id.get(tool_id) or read.get(tool_id) for tool_id in tool_ids]
        return tuple(
            tool for tool in found if tool is not None and (tool.id in self._by_id or tool.name not in self._by_name)
        )

    async def page(self, page: Page, is_wanted: Wanted) -> list[Tool]:
        """A page of all tools; the built-in ones count as the oldest. Raises NotFound for an unknown cursor."""
        first, last = page.after, page.before
        builtin = list(self._by_id.values())[:: -1 if page.newest_first else 1]
        ids = [tool.id for tool in builtin]
        start = ids.index(ToolId(first)) + 1 if first in self._by_id else 0
        end = ids.index(ToolId(last)) if last in self._by_id else len(ids)
        if page.newest_first and last is not None and last not in self._by_id:
            end = 0  # all built-in tools come after a stored one
        if not page.newest_first and first is not None and first not in self._by_id:
            start = len(ids)
        near = [tool for tool in builtin[start:end] if is_wanted(tool)]
        return await self._with_stored(near, page, is_wanted)

    async def count(self, is_wanted: Wanted) -> int:
        """How many tools there are."""
        return sum(is_wanted(tool) for tool in self._by_id.values()) + await self.stored.count(is_wanted)

    # -- stored tools --------------------------------------------------------------------------------------

    async def create(self, tool: Tool) -> Tool:
        """Store a new tool. Raises AlreadyExists (the name is taken), InvalidInput, LimitExceeded."""
        self.check(tool)
        return await self.stored.create(tool)

    async def edit(self, tool_id: ToolId, change: Callable[[Tool], Tool]) -> Tool:
        """Change a stored tool; as it is now. Raises what `create` does, and NotFound, Conflict."""
        self._check_stored(tool_id)

        def checked(now: Tool) -> Tool:
            changed = change(now)
            self.check(changed)
            return changed

        return await self.stored.edit(tool_id, checked)

    async def delete(self, tool_id: ToolId) -> None:
        """Remove a stored tool; agents that have it do without from their next step on. Raises NotFound, Conflict."""
        self._check_stored(tool_id)
        await self.stored.delete(tool_id)

    # -- calls ---------------------------------------------------------------------------------------------

    async def call(self, request: ToolRequest) -> ToolOutcome:
        """Run a tool that is none of memory; a text longer than the tool may return is clipped and says so."""
        tool = request.tool
        assert tool.id in self._boxes or tool.id not in self._by_id, f"{tool.name} is not a box's tool"
        runner = self._boxes.get(tool.id) or self._runners.get(tool.kind)  # type: ignore[call-overload]
        if runner is None:
            return ToolOutcome(text=f"The tool '{tool.name}' is of a kind that this server cannot run.", ok=False)
        return clip_outcome(await runner.call(request), tool.return_chars_max)

    # -- inside --------------------------------------------------------------------------------------------

    async def _with_stored(self, builtin: list[Tool], page: Page, is_wanted: Wanted) -> list[Tool]:
        """The page: wanted built-in tools, and stored ones before them (newest first) or after them."""
        inner, outer = (page.after, page.before) if page.newest_first else (page.before, page.after)
        assert page.limit > 0
        if inner in self._by_id or (not page.newest_first and len(builtin) >= page.limit):
            return builtin[: page.limit]
        outer = None if outer in self._by_id else outer
        after, before = (inner, outer) if page.newest_first else (outer, inner)
        limit = page.limit if page.newest_first else page.limit - len(builtin)
        stored = await self.stored.page(
            msgspec.structs.replace(page, after=after, before=before, limit=limit), is_wanted
        )
        assert len(stored) <= limit
        return [*stored, *builtin][: page.limit] if page.newest_first else [*builtin, *stored]

    def check(self, tool: Tool) -> None:
        """A stored tool fits, and takes no built-in one's name."""
        if not 0 < len(tool.name) <= TOOL_NAME_CHARS_MAX:
            raise LimitExceeded(
                f"name: a tool's name has 1 to {TOOL_NAME_CHARS_MAX} characters, not {len(tool.name)}",
                limit="TOOL_NAME_CHARS_MAX",
                maximum=TOOL_NAME_CHARS_MAX,
            )
        if tool.name in self._by_name:
            raise AlreadyExists(f"Tool with name '{tool.name}' already exists: it is built in", tool_name=tool.name)
        compile_schema(bytes(tool.parameters))

    def _check_stored(self, tool_id: ToolId) -> None:
        if tool_id in self._by_id:
            name = self._by_id[tool_id].name
            raise InvalidInput(f"the tool '{name}' is built in: it can be neither changed nor removed", field="tool_id")

    def _add(self, tool: Tool) -> None:
        if tool.id in self._by_id or tool.name in self._by_name:
            raise AlreadyExists(f"there are two tools '{tool.name}' ({tool.id})", tool_name=tool.name)
        compile_schema(bytes(tool.parameters))
        self._by_id[tool.id] = tool
        self._by_name[tool.name] = tool


def stored_tools(records: Records, entropy: Entropy) -> Collection[Tool]:
    """The tools that people made."""
    return Collection(records, entropy, TOOLS, "Tool", name_of=lambda tool: tool.name)
