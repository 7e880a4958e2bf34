"""A Python function as a served tool: schema, description and argument types all come from its signature."""

import hashlib
import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from kelpie.ids import ToolId, uuid_from_bytes
from kelpie.limits import TOOL_DEADLINE_MS, TOOL_NAME_CHARS_MAX
from kelpie.tools.mcp_server import ServedTool
from kelpie.tools.schema import tool_schema
from kelpie.tools.tool import BuiltinKind, Tool, ToolOutcome, ToolRequest

C = TypeVar("C")


class ServedBox(Generic[C]):
    """A box of functions; `context` makes for each call what its function gets first."""

    def __init__(self, served: Sequence[ServedTool[C]], context: Callable[[ToolRequest], C]) -> None:
        self._served = {each.tool.id: each for each in served}
        self._context = context

    def list_tools(self) -> Sequence[Tool]:
        """What is served."""
        return [each.tool for each in self._served.values()]

    async def call(self, request: ToolRequest) -> ToolOutcome:
        """Call the function."""
        return await self._served[request.tool.id].run(self._context(request), request.arguments)


def builtin_tool_id(name: str) -> ToolId:
    """The id of a built-in tool: the same in every installation, since it comes from the name alone."""
    return ToolId(f"tool-{uuid_from_bytes(hashlib.sha256(name.encode()).digest()[:16])}")


def serve_function(
    function: Callable[..., Awaitable[ToolOutcome]],
    context: type[C],
    *,
    kind: BuiltinKind,
    title: str,
    read_only: bool = False,
    idempotent: bool = False,
    destructive: bool = False,
    deadline_ms: int = TOOL_DEADLINE_MS,
    parallel: bool | None = None,
) -> ServedTool[C]:
    """Serve `function(context, /, ...)`, described as `tool_schema` says; `context` only binds its type."""
    name = getattr(function, "__name__", "")
    assert 0 < len(name) <= TOOL_NAME_CHARS_MAX
    assert not (read_only and destructive), name
    description, parameters = tool_schema(function)
    tool = Tool(
        id=builtin_tool_id(name),
        name=name,
        description=description,
        parameters=parameters,
        kind=kind,
        read_only=read_only,
        idempotent=idempotent,
        deadline_ms=deadline_ms,
        parallel=parallel,
    )
    return ServedTool(tool=tool, title=title, destructive=destructive, run=_runner(function))


def _runner(function: Callable[..., Awaitable[ToolOutcome]]) -> Callable[[Any, Raw], Awaitable[ToolOutcome]]:
    """Decodes checked arguments into the function's own types and calls it."""
    kind = _arguments_struct(function)
    decoder = msgspec.json.Decoder(kind, strict=False)  # 5.0 is an integer to JSON schema, and 5 to the function

    async def run(context: Any, arguments: Raw) -> ToolOutcome:
        try:
            decoded = decoder.decode(arguments)
        except msgspec.ValidationError as error:  # a whole number such as 1e300 is an integer to JSON schema only
            return ToolOutcome(text=f"The arguments do not fit: {error}.", ok=False)
        return await function(context, *[getattr(decoded, field) for field in kind.__struct_fields__])

    return run


def _arguments_struct(function: Callable[..., object]) -> type[Struct]:
    hints = typing.get_type_hints(function)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            continue
        assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD, name
        if parameter.default is inspect.Parameter.empty:
            fields.append((name, hints[name]))
        else:
            fields.append((name, hints[name], parameter.default))
    return msgspec.defstruct("Arguments", fields)
