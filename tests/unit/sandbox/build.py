"""Jobs of the sandbox, and what is left of them."""

import os
from pathlib import Path

import msgspec

from kelpie.sandbox.process import ProcessSandbox
from kelpie.sandbox.sandbox import Ended, Job


def a_sandbox(directory: Path, **environ: str) -> ProcessSandbox:
    return ProcessSandbox(directory, {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environ})


def call(code: str, arguments: object = None, **fields: object) -> Job:
    """A call of the function `f` of a source."""
    agent, args_schema, preamble = (fields.pop(name, default) for name, default in DEFAULTS.items())
    told = {"code": code, "function": "f", "arguments": arguments or {}}
    told |= {"agent": agent, "args_schema": args_schema, "preamble": preamble}
    return Job(program="call_python", input=msgspec.json.encode(told), **{"deadline_ms": 20_000, **fields})  # type: ignore[arg-type]


def node(code: str, function: str | None = None, arguments: object = None, language: str = "javascript") -> Job:
    told = {"code": code, "function": function, "arguments": arguments or {}, "language": language}
    order = list(arguments) if isinstance(arguments, dict) else []
    return Job(program="run_node", input=msgspec.json.encode({**told, "order": order}), deadline_ms=20_000)


def script(code: str, *tools: dict[str, object], preamble: str = "", caller: str = "") -> Job:
    """A piece of Python, and what it may call."""
    lent = [{"order": [], "code": "", "why_not": "", **tool} for tool in tools]
    told = {"code": code, "tools": lent, "preamble": preamble, "caller": caller}
    return Job(program="run_python", input=msgspec.json.encode(told), deadline_ms=20_000)


def value_of(ended: Ended) -> str:
    result = result_of(ended)
    assert result["ok"], ended
    return result["value"]


def result_of(ended: Ended) -> dict:
    assert ended.result is not None, ended
    return msgspec.json.decode(ended.result)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and is not yet buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


DEFAULTS: dict[str, object] = {"agent": None, "args_schema": {}, "preamble": ""}
