"""Tools from source, without running any: jobs say what a program reads, and every end has its words."""

import msgspec
import pytest
from msgspec import Raw

from kelpie.errors import Forbidden, InvalidInput, LimitExceeded, SourceRefused
from kelpie.ids import ToolId
from kelpie.limits import TOOL_SOURCE_BYTES_MAX
from kelpie.sandbox.closed import ClosedSandbox
from kelpie.sandbox.sandbox import Ended, Job
from kelpie.tools.sources import Called, call_job, derive, read_call, required, script_job, show_script
from kelpie.tools.tool import Requirement, Source, Tool, ToolOutcome
from kelpie_sim.sandbox import Ends, SimSandbox, answer_ok

ARGUMENTS = Raw(b'{"b":1,"a":2}')


def a_tool(**source: object) -> Tool:
    return Tool(
        id=ToolId("tool-1"),
        name="t",
        description="T.",
        parameters=Raw(b'{"type":"object","properties":{"a":{"type":"integer"},"b":{}}}'),
        kind="custom",
        source=Source(**{"code": "def t(a, b): ...", **source}),  # type: ignore[arg-type]
    )


def ended(**result: object) -> Ended:
    return Ended(result=msgspec.json.encode(result), stdout="out", stderr="")


def test_a_python_call_is_told_everything() -> None:
    """Packages of tool and sandbox together, each once."""
    tool = a_tool(pip=(Requirement(name="six", version="1.17.0"),), args_schema=Raw(b'{"x":1}'))
    job = call_job(
        tool,
        ARGUMENTS,
        environment={"A": "b"},
        packages=(Requirement(name="httpx"), Requirement(name="six", version="1.17.0")),
        agent=Raw(b'{"name":"n"}'),
        preamble="p",
    )
    assert (job.program, job.environment, job.packages) == ("call_python", {"A": "b"}, ("httpx", "six==1.17.0"))
    assert msgspec.json.decode(job.input) == {
        "code": "def t(a, b): ...",
        "function": "t",
        "arguments": {"b": 1, "a": 2},
        "args_schema": {"x": 1},
        "agent": {"name": "n"},
        "preamble": "p",
    }


def test_a_typescript_call_has_its_parameters_in_the_order_of_the_schema() -> None:
    """And packages from npm are refused by name of the tool."""
    job = call_job(a_tool(language="typescript"), ARGUMENTS, environment={})
    assert (job.program, job.packages, msgspec.json.decode(job.input)["order"]) == ("run_node", (), ["a", "b"])
    with pytest.raises(InvalidInput, match="'t' needs packages from npm"):
        call_job(a_tool(language="typescript", npm=(Requirement(name="x"),)), ARGUMENTS, environment={})


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (ended(ok=True, value="v", blocks={"human": "x"}), ToolOutcome(text="v", stdout=("out",), stderr=())),
        (
            ended(ok=False, error="ValueError: no", module=""),
            ToolOutcome(text="Error executing function t: ValueError: no", ok=False, stdout=("out",), stderr=()),
        ),
        (
            Ended(result=None, died="it did not end within 3 s"),
            ToolOutcome(text="Error executing function t: it did not end within 3 s", ok=False, stdout=(), stderr=()),
        ),
        (
            Ended(result=b"{no json"),
            ToolOutcome(text="Error executing function t: its result cannot be read", ok=False, stdout=(), stderr=()),
        ),
    ],
)
def test_what_came_of_a_call(end: Ended, outcome: ToolOutcome) -> None:
    """Its value, its error, its death, or what foreign code put in the place of a result."""
    called = read_call(end, "t")
    assert called == Called(outcome=outcome, blocks={"human": "x"} if outcome.ok else {})


def test_a_missing_module_comes_with_advice() -> None:
    """Which the model and the author read."""
    called = read_call(ended(ok=False, error="ModuleNotFoundError: x", module="requests"), "t")
    assert called.outcome.text.endswith("('requests' is not installed; the tool can name it in its pip_requirements)")


def test_scripts_and_what_came_of_them() -> None:
    """One program for Python, one for the languages of node."""
    assert script_job("1", "python").program == "run_python"
    assert msgspec.json.decode(script_job("1", "ts").input)["language"] == "typescript"
    assert msgspec.json.decode(script_job("1", "js").input)["function"] is None
    printed = '"logs":{"stdout":["out"],"stderr":[]}'
    assert show_script(ended(ok=True, value="3")) == ToolOutcome(text=f'{{"results":["3"],{printed}}}')
    for how in (ended(ok=False, error="e"), Ended(result=None, stdout="out", died="e")):
        assert show_script(how) == ToolOutcome(text=f'{{"results":[],{printed},"error":"e"}}', ok=False)


@pytest.mark.parametrize(
    ("requirement", "text"),
    [(("six", None), "six"), (("six", "1.0"), "six==1.0"), (("six", ">=1.0"), "six>=1.0"), ((" six ", " "), "six")],
)
def test_requirements_as_pip_takes_them(requirement: tuple[str, str | None], text: str) -> None:
    """A bare version is exactly that one."""
    assert required(Requirement(name=requirement[0], version=requirement[1])) == text


def test_a_source_is_read_by_the_sandbox(run) -> None:
    """What it says is a schema, a refusal, or why it could not be read; what is blank or too long is not even tried."""
    sandbox = SimSandbox(answer_ok)
    assert run(derive(sandbox, "code", args_schema=Raw(b'{"a":1}'))).name == "tool"
    assert msgspec.json.decode(sandbox.jobs[0].input) == {"code": "code", "function": None, "args_schema": {"a": 1}}
    for end, sentence in (
        (ended(ok=False, error="No functions"), "Schema generation failed: No functions"),
        (Ended(result=None, died="it was killed"), "the source could not be read: it was killed"),
    ):
        with pytest.raises(SourceRefused, match=sentence):
            run(derive(SimSandbox(lambda job, end=end: Ends(ended=end)), "code"))
    with pytest.raises(SourceRefused, match="missing source_code"):
        run(derive(sandbox, " \n"))
    with pytest.raises(LimitExceeded):
        run(derive(sandbox, "x" * (TOOL_SOURCE_BYTES_MAX + 1)))
    assert len(sandbox.jobs) == 1


def test_a_closed_sandbox_reads_and_runs_nothing(run) -> None:
    """Schemas can be had on a server whose operator lets no foreign code run."""
    closed = ClosedSandbox(SimSandbox(answer_ok))
    assert run(derive(closed, "code")).name == "tool"
    with pytest.raises(Forbidden, match="KELPIE_TOOL_CODE"):
        run(closed.run(call_job(a_tool(), ARGUMENTS, environment={})))
    with pytest.raises(Forbidden):
        run(closed.run(Job(program="run_node", input=b"{}")))
