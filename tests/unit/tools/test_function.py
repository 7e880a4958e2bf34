"""A function as a tool: typed arguments reach it, and its id never changes."""

from msgspec import Raw

from kelpie.tools.function import builtin_tool_id, serve_function
from kelpie.tools.tool import ToolOutcome


async def add_up(context: list[object], /, first: int, more: list[int] | None = None, name: str = "sum") -> ToolOutcome:
    """Add numbers.

    Args:
    first: One number.
    more: More numbers.
    name: What to call it.
    """
    context.append((first, more, name))
    return ToolOutcome(text=f"{name}: {first + sum(more or [])}")


def test_arguments_arrive_in_their_types(run):
    """5.0 arrives as 5, absent ones as their defaults."""
    served = serve_function(add_up, list, kind="core", title="Add", idempotent=True)
    seen: list[object] = []
    assert run(served.run(seen, Raw(b'{"first":5.0,"other":1}'))) == ToolOutcome(text="sum: 5")
    assert run(served.run(seen, Raw(b'{"first":1,"more":[2,3],"name":"n"}'))) == ToolOutcome(text="n: 6")
    too_large = run(served.run(seen, Raw(b'{"first":1e300}')))
    assert too_large == ToolOutcome(
        text="The arguments do not fit: Expected `int`, got `float` - at `$.first`.", ok=False
    )
    assert seen == [(5, None, "sum"), (1, [2, 3], "n")]
    assert (served.tool.name, served.tool.idempotent, served.tool.read_only) == ("add_up", True, False)


def test_id_comes_from_the_name():
    """Stored agents refer to it."""
    assert builtin_tool_id("memory_insert") == "tool-13bd9c99-2373-4bbd-9022-e6c5da5c8c6c"
