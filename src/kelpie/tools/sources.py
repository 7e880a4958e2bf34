"""Tools from source: what a source says of itself, a call of it as a job of the sandbox, and what came of that.

No source is ever read or run in this process.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw, Struct

from kelpie.errors import InvalidInput, LimitExceeded, SourceRefused
from kelpie.limits import SANDBOX_SCHEMA_MS_MAX, TOOL_SOURCE_BYTES_MAX
from kelpie.sandbox.sandbox import Ended, Job, Sandbox
from kelpie.tools.tool import NOTHING, Requirement, Source, Tool, ToolOutcome

NULL = Raw(b"null")


class Derived(Struct, frozen=True, kw_only=True):
    """What a source says of its function."""

    name: str
    description: str
    parameters: Raw


class Called(Struct, frozen=True, kw_only=True):
    """What a call answered, and the memory blocks, by label, that the tool gave another value."""

    outcome: ToolOutcome
    blocks: Mapping[str, str] = {}


class _Reading(Struct, frozen=True, kw_only=True):
    code: str
    function: str | None
    args_schema: Raw


class _PythonCall(Struct, frozen=True, kw_only=True):
    code: str
    function: str
    arguments: Raw
    args_schema: Raw
    agent: Raw
    preamble: str


class _NodeCall(Struct, frozen=True, kw_only=True):
    code: str
    language: str
    function: str
    arguments: Raw
    order: tuple[str, ...]


class LentTool(Struct, frozen=True, kw_only=True):
    """A tool that code may call: `is_here`, loaded from its source in the same process; or on the server; or not."""

    tool: Tool
    is_here: bool
    why_not: str = ""


class _Lent(Struct, frozen=True, kw_only=True):
    name: str
    order: tuple[str, ...]
    code: str = ""
    why_not: str = ""


class _Script(Struct, frozen=True, kw_only=True):
    code: str
    tools: tuple[_Lent, ...] = ()
    preamble: str = ""
    caller: str = ""


class _NodeScript(Struct, frozen=True, kw_only=True):
    code: str
    language: str
    function: None = None
    arguments: Raw = NOTHING
    order: tuple[str, ...] = ()


class _Result(Struct, frozen=True, kw_only=True):
    """What a program of the sandbox writes."""

    ok: bool
    value: str = ""
    error: str = ""
    module: str = ""
    blocks: dict[str, str] = {}
    name: str = ""
    description: str = ""
    parameters: Raw = NOTHING


class _Logs(Struct, frozen=True, kw_only=True):
    stdout: tuple[str, ...]
    stderr: tuple[str, ...]


class _Ran(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the model is told of a script."""

    results: tuple[str, ...]
    logs: _Logs
    error: str = ""


class _Parameters(Struct, frozen=True):
    properties: dict[str, Raw] = {}


async def derive(sandbox: Sandbox, code: str, *, function: str | None = None, args_schema: Raw = NOTHING) -> Derived:
    """The schema of a Python source. Raises SourceRefused, LimitExceeded, and what the sandbox does."""
    check_source(code)
    told = msgspec.json.encode(_Reading(code=code, function=function, args_schema=args_schema))
    ended = await sandbox.run(Job(program="derive_schema", input=told, deadline_ms=SANDBOX_SCHEMA_MS_MAX))
    result = _read(ended)
    if result is None:
        raise SourceRefused(f"Schema generation failed: the source could not be read: {ended.died}")
    if not result.ok:
        raise SourceRefused(f"Schema generation failed: {result.error}", field="source_code")
    assert result.name
    assert function in (None, result.name)
    return Derived(name=result.name, description=result.description, parameters=result.parameters)


def check_source(code: str) -> None:
    """A source is not blank and at most TOOL_SOURCE_BYTES_MAX long."""
    if not code.strip():
        raise SourceRefused("Custom tool is missing source_code field.", field="source_code")
    size = len(code.encode(errors="replace"))
    if size > TOOL_SOURCE_BYTES_MAX:
        raise LimitExceeded(
            f"source_code: {size} bytes are over the limit of {TOOL_SOURCE_BYTES_MAX}",
            limit="TOOL_SOURCE_BYTES_MAX",
            maximum=TOOL_SOURCE_BYTES_MAX,
        )


def call_job(
    tool: Tool,
    arguments: Raw,
    *,
    environment: Mapping[str, str],
    packages: tuple[Requirement, ...] = (),
    agent: Raw = NULL,
    preamble: str = "",
) -> Job:
    """A call of the tool's source. Raises InvalidInput: it needs what this server does not provide."""
    source = tool.source
    assert source is not None, f"{tool.name} has no source"
    if source.language == "typescript":
        return _node_job(tool, source, arguments, environment)
    called = _PythonCall(
        code=source.code,
        function=tool.name,
        arguments=arguments,
        args_schema=source.args_schema,
        agent=agent,
        preamble=preamble,
    )
    wanted = tuple(sorted({required(one) for one in (*packages, *source.pip)}))
    assert all(wanted)
    return Job(program="call_python", input=msgspec.json.encode(called), environment=dict(environment), packages=wanted)


def _node_job(tool: Tool, source: Source, arguments: Raw, environment: Mapping[str, str]) -> Job:
    if source.npm:
        raise InvalidInput(
            f"The tool '{tool.name}' needs packages from npm, which this server does not install.",
            field="npm_requirements",
        )
    called = _NodeCall(
        code=source.code, language="typescript", function=tool.name, arguments=arguments, order=_order(tool)
    )
    return Job(program="run_node", input=msgspec.json.encode(called), environment=dict(environment))


def script_job(code: str, language: str) -> Job:
    """A piece of code, run as it is: python, js or ts."""
    assert language in ("python", "js", "ts")
    if language == "python":
        return Job(program="run_python", input=msgspec.json.encode(_Script(code=code)))
    full = "typescript" if language == "ts" else "javascript"
    return Job(program="run_node", input=msgspec.json.encode(_NodeScript(code=code, language=full)))


def lending_job(
    code: str,
    tools: Sequence[LentTool],
    *,
    environment: Mapping[str, str],
    packages: tuple[Requirement, ...],
    preamble: str,
    caller: str,
) -> Job:
    """A piece of Python that may call tools; `caller`: Python with a function call(name, arguments), for the others."""
    here = [one.tool.source for one in tools if one.is_here and one.tool.source is not None]
    lent = tuple(
        _Lent(
            name=one.tool.name,
            order=_order(one.tool),
            code=one.tool.source.code if one.is_here and one.tool.source is not None else "",
            why_not=one.why_not,
        )
        for one in tools
    )
    script = _Script(code=code, tools=lent, preamble=preamble, caller=caller)
    wanted = tuple(sorted({required(one) for one in (*packages, *[one for source in here for one in source.pip])}))
    return Job(program="run_python", input=msgspec.json.encode(script), environment=dict(environment), packages=wanted)


def read_call(ended: Ended, name: str) -> Called:
    """What a call answered: its value, or what went wrong, in words for the model."""
    result = _read(ended)
    stdout, stderr = _lines(ended.stdout), _lines(ended.stderr)
    if result is not None and result.ok:
        return Called(outcome=ToolOutcome(text=result.value, stdout=stdout, stderr=stderr), blocks=result.blocks)
    wrong = ended.died if result is None else result.error
    if result is not None and result.module:
        wrong += f" ('{result.module}' is not installed; the tool can name it in its pip_requirements)"
    assert wrong, "there is a reason"
    text = f"Error executing function {name}: {wrong}"
    return Called(outcome=ToolOutcome(text=text, ok=False, stdout=stdout, stderr=stderr))


def show_script(ended: Ended) -> ToolOutcome:
    """What a script printed, its last value and what went wrong, as JSON for the model."""
    result = _read(ended)
    value, error = ("", ended.died) if result is None else (result.value, result.error)
    logs = _Logs(stdout=_lines(ended.stdout), stderr=_lines(ended.stderr))
    ran = _Ran(results=(value,) if value else (), logs=logs, error=error)
    return ToolOutcome(text=msgspec.json.encode(ran).decode(), ok=not error)


def required(requirement: Requirement) -> str:
    """As pip takes it."""
    name, version = requirement.name.strip(), (requirement.version or "").strip()
    if not version:
        return name
    return f"{name}{version}" if version[0] in "=<>~!" else f"{name}=={version}"


def _order(tool: Tool) -> tuple[str, ...]:
    return tuple(msgspec.json.decode(tool.parameters, type=_Parameters).properties)


def _read(ended: Ended) -> _Result | None:
    """What the program wrote; foreign code may have written something else in its place."""
    if ended.result is None:
        return None
    try:
        return msgspec.json.decode(ended.result, type=_Result)
    except msgspec.MsgspecError:
        return _Result(ok=False, error="its result cannot be read")


def _lines(printed: str) -> tuple[str, ...]:
    return (printed,) if printed else ()
