"""Tools that people write: made, put, changed, listed, found, run in turns and by hand, removed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from letta_client import APIStatusError, Letta

from tests.system import talk
from tests.system.talk import REHEARSED
from tests.wire.conftest import MakeAgent
from tests.wire.reading import only, user
from tests.wire.wire import Wire

UNKNOWN = "tool-00000000-0000-4000-8000-000000000000"
SOURCE = '''def NAME(x: int) -> str:
    """Doubles a number.

    Args:
        x (int): The number.

    Returns:
        str: Twice the number.
    """
    print("hi")
    return str(x * FACTOR)
'''
PARAMETERS = {
    "type": "object",
    "properties": {"x": {"type": "integer", "description": "The number."}},
    "required": ["x"],
}


def mark(word: str) -> str:
    """A name that nobody else uses, for a function."""
    return talk.mark(word).replace("-", "_")


def source(name: str, factor: int = 2) -> str:
    return SOURCE.replace("NAME", name).replace("FACTOR", str(factor))


@pytest.fixture
def made(client: Letta) -> Iterator[Any]:
    """A tool from source, removed afterwards."""
    tool = client.tools.create(source_code=source(mark("double")), tags=["sums"])
    yield tool
    try:
        client.tools.delete(tool.id)
    except APIStatusError as error:
        assert error.status_code == 404


def test_a_tool_is_made_from_its_source(client: Letta, made: Any) -> None:
    """Name, description and schema are the function's; nothing else has to be said."""
    assert made.json_schema == {"name": made.name, "description": "Doubles a number.", "parameters": PARAMETERS}
    assert (made.tool_type, made.source_type, made.description) == ("custom", "json", "Doubles a number.")
    assert (made.tags, made.return_char_limit, made.args_json_schema) == (["sums"], 50_000, {})
    assert (made.default_requires_approval, made.enable_parallel_execution) == (None, False)
    assert client.tools.retrieve(made.id) == made


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"source_code": "def nodoc(x: int):\n    return 1"}, 400, "Function nodoc missing docstring"),
        ({"source_code": "def f(:\n"}, 400, "Failed to derive json schema: Schema generation failed: Failed to parse"),
        ({"source_code": ""}, 400, "Custom tool is missing source_code field."),
        ({"source_code": "x = 1"}, 400, "No functions found"),
        ({"source_code": source("web"), "source_type": "ruby"}, 400, "Unknown tool source type: ruby"),
        ({"source_code": "export function f() {}", "source_type": "typescript"}, 422, "json_schema"),
        ({"source_code": source("web"), "nonsense": 1}, 422, "nonsense"),
        ({"source_code": source("web"), "return_char_limit": 0}, 422, ">= 1"),
        ({"source_code": source("memory_insert")}, 409, "built in"),
        ({}, 422, "source_code"),
    ],
)
def test_what_is_no_tool_is_refused(wire: Wire, body: dict[str, Any], status: int, sentence: str) -> None:
    """By POST and by PUT, in a sentence that says what to change; nothing is stored."""
    before = wire.get("/v1/tools/count")
    for method in ("POST", "PUT"):
        assert sentence in wire.refuse(method, "/v1/tools/", status, body)
    assert wire.get("/v1/tools/count") == before


def test_the_same_name_again_is_the_same_tool(client: Letta, made: Any) -> None:
    """By POST as by PUT, as the retired server does; tags stay if none are given."""
    again = client.tools.upsert(source_code=source(made.name, 3), return_char_limit=99)
    assert (again.id, again.tags, again.return_char_limit) == (made.id, ["sums"], 99)
    assert again.source_code == source(made.name, 3)
    other = client.tools.create(source_code=source(made.name, 4), tags=["more"])
    assert (other.id, other.tags, other.return_char_limit) == (made.id, ["more"], 50_000)


def test_a_tool_is_changed(client: Letta, made: Any) -> None:
    """Each field by itself; a new source keeps the name; a schema may give another."""
    changed = client.tools.update(made.id, source_code=source(made.name, 5))
    assert changed.source_code == source(made.name, 5)
    changed = client.tools.update(
        made.id, description="D", tags=["a"], return_char_limit=7, default_requires_approval=True
    )
    assert (changed.description, changed.tags, changed.return_char_limit) == ("D", ["a"], 7)
    assert changed.default_requires_approval is True
    assert changed.json_schema is not None and changed.json_schema["description"] == "Doubles a number."
    assert client.tools.update(made.id, metadata={"a": 1}).metadata == {"a": 1}
    with pytest.raises(APIStatusError, match="does not match the name in the source code") as refused:
        client.tools.update(made.id, source_code=source("other"))
    assert refused.value.status_code == 400
    name = mark("renamed")
    schema = {"name": name, "description": "S", "parameters": PARAMETERS, "strict": True}
    renamed = client.tools.update(made.id, json_schema=schema)
    assert (renamed.name, renamed.json_schema) == (name, schema)
    with pytest.raises(APIStatusError) as missing:
        client.tools.update(UNKNOWN, description="x")
    assert missing.value.status_code == 404


def test_tools_are_listed_counted_and_filtered(client: Letta, wire: Wire, made: Any) -> None:
    """Every filter, and pages over built-in and own tools alike."""
    other = client.tools.create(source_code=source(mark("triple"), 3))
    try:
        newest = client.tools.list(limit=2).items
        assert [tool.id for tool in newest] == [other.id, made.id]
        assert [tool.id for tool in client.tools.list(after=other.id, limit=1).items] == [made.id]
        everything = [tool.id for tool in client.tools.list(limit=1000).items]
        assert [tool.id for tool in client.tools.list(order="asc", limit=1000).items] == everything[::-1]
        assert len(everything) == wire.get("/v1/tools/count")

        def names(**query: Any) -> list[str]:
            return [tool["name"] for tool in wire.get("/v1/tools/", limit=1000, **query)]

        assert names(name=made.name) == [made.name]
        assert (
            names(names=[made.name, other.name]) == names(tool_ids=f"{made.id},{other.id}") == [other.name, made.name]
        )
        assert names(search=made.name[1:].upper()) == [made.name]
        assert set(names(tool_types="custom")) >= {made.name, other.name}
        assert made.name not in names(exclude_tool_types=["custom"]) + names(return_only_letta_tools=True)
        builtin = wire.get("/v1/tools/count", return_only_letta_tools=True)
        assert wire.get("/v1/tools/count", exclude_letta_tools=True) + builtin == len(everything)
        assert wire.get("/v1/tools/count", tool_types=["custom"], name=made.name) == 1
        assert "Invalid tool_type 'nope'" in wire.refuse("GET", "/v1/tools/", 400, tool_types="nope")
        wire.refuse("GET", "/v1/tools/", 404, after=UNKNOWN)
        wire.refuse("GET", "/v1/tools/tool-1", 422)
    finally:
        client.tools.delete(other.id)


def test_tools_are_found_by_what_they_do(client: Letta, made: Any) -> None:
    """By words, by vectors and by both; the filters hold."""
    for mode in ("fts", "vector", "hybrid"):
        found = client.tools.search(query="doubles a number", search_mode=mode, limit=3)  # type: ignore[arg-type]
        assert found[0].tool.name == made.name and found[0].combined_score > 0, mode
        assert found[0].fts_rank == (None if mode == "vector" else 1)
        assert found[0].vector_rank == (None if mode == "fts" else 1)
    assert {one.tool.tool_type for one in client.tools.search(query="number", tool_types=["custom"])} <= {"custom"}
    assert [one.tool.id for one in client.tools.search(tags=["sums"], tool_types=["custom"])] == [made.id]
    assert client.tools.search(query="zzzqqq", search_mode="fts") == []


def test_built_in_tools_are_always_there(wire: Wire) -> None:
    """To add them adds nothing; they are neither changed nor removed nor replaced."""
    listed = wire.post("/v1/tools/add-base-tools")
    assert {tool["name"] for tool in listed} >= {"memory_insert", "memory_replace", "conversation_search"}
    assert wire.post("/v1/tools/add-base-tools") == listed
    path = f"/v1/tools/{listed[0]['id']}"
    assert "is built in" in wire.refuse("PATCH", path, 400, {"description": "x"})
    assert "is built in" in wire.refuse("DELETE", path, 400)


def test_schemas_of_sources(wire: Wire) -> None:
    """Without storing anything."""
    name = mark("d")
    schema = wire.post("/v1/tools/generate-schema", {"code": source(name), "source_type": "python"})
    assert schema == {"name": name, "description": "Doubles a number.", "parameters": PARAMETERS}
    assert "lacks a type annotation" in wire.refuse(
        "POST", "/v1/tools/generate-schema", 400, {"code": source(name).replace(": int", "", 1)}
    )
    body = {"code": "export function f(x: number) {}", "source_type": "typescript"}
    assert "write its schema" in wire.refuse("POST", "/v1/tools/generate-schema", 400, body)


def test_a_source_is_run_without_being_stored(wire: Wire) -> None:
    """Arguments, variables, which function, what it printed, what went wrong."""
    ran = wire.post("/v1/tools/run", {"source_code": source("d"), "args": {"x": 21}})
    assert (ran["tool_return"], ran["status"], ran["stdout"], ran["stderr"]) == ("42", "success", ["hi\n"], [])
    assert ran["tool_returns"] == [
        {
            "type": "tool",
            "tool_return": "42",
            "status": "success",
            "tool_call_id": "null",
            "stdout": ["hi\n"],
            "stderr": [],
        }
    ]
    code = (
        'def secret():\n    """D."""\n    import os\n    return os.environ["TOKEN"], "OPENAI_API_KEY" in os.environ\n'
    )
    ran = wire.post("/v1/tools/run", {"source_code": code, "args": {}, "env_vars": {"TOKEN": "t"}})
    assert ran["tool_return"] == "('t', False)"
    two = source("first") + "\n" + source("second", 10)
    assert wire.post("/v1/tools/run", {"source_code": two, "args": {"x": 1}})["tool_return"] == "10"
    named = wire.post("/v1/tools/run", {"source_code": two, "args": {"x": 1}, "name": "first"})
    assert (named["tool_return"], named["name"]) == ("2", "first")
    failed = wire.post("/v1/tools/run", {"source_code": source("d"), "args": {}})
    assert failed["status"] == "error"
    assert failed["tool_return"].startswith("Error executing function d: TypeError: d() missing 1 required")
    assert failed["stderr"][0].startswith("Traceback")
    ended = wire.post("/v1/tools/run", {"source_code": source("d").replace("print(", "exit("), "args": {"x": 1}})
    assert "SystemExit: hi" in ended["tool_return"]
    assert "missing docstring" in wire.refuse(
        "POST", "/v1/tools/run", 400, {"source_code": "def f():\n    1", "args": {}}
    )
    missing = wire.post("/v1/tools/run", {"source_code": 'def f():\n    """D."""\n    import nosuch\n', "args": {}})
    assert "can name it in its pip_requirements" in missing["tool_return"]


def test_an_agent_uses_a_tool_of_ones_own(client: Letta, made: Any, make_agent: MakeAgent) -> None:
    """Attached by id and by name, called in a turn by the model, detached; the model sees its schema."""
    agent = make_agent(REHEARSED, include_base_tools=False, tools=[made.name])
    assert [tool.id for tool in client.agents.tools.list(agent.id).items] == [made.id]
    instruction = f"Call the {made.name} tool with x 21 then reply with the message 'done'"
    answer = client.agents.messages.create(agent.id, messages=user(instruction))
    returned = only(answer.messages, "tool_return_message")
    assert (returned.tool_return, returned.status, returned.stdout) == ("42", "success", ["hi\n"])
    wrong = client.agents.messages.create(agent.id, messages=user(f"Call the {made.name} tool with x 'a'"))
    assert only(wrong.messages, "tool_return_message").status == "error"
    client.agents.tools.detach(made.id, agent_id=agent.id)
    assert client.agents.tools.list(agent.id).items == []
    client.agents.tools.attach(made.id, agent_id=agent.id)
    client.agents.tools.attach(made.id, agent_id=agent.id)
    assert [tool.id for tool in client.agents.tools.list(agent.id, limit=1).items] == [made.id]
    client.tools.delete(made.id)
    assert client.agents.retrieve(agent.id).tools == []
    gone = client.agents.messages.create(agent.id, messages=user(instruction))
    assert only(gone.messages, "assistant_message").content.startswith("There is no tool named"), "it is not offered"
    for call in (client.agents.tools.attach, client.agents.tools.run):
        with pytest.raises(APIStatusError) as missing:
            call(made.id if call == client.agents.tools.attach else made.name, agent_id=agent.id)  # type: ignore[arg-type]
        assert missing.value.status_code == 404


def test_a_tool_knows_its_agent_and_its_secrets(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """Secrets are variables, sealed at rest and shown to their owner; memory that the tool edits is written back."""
    name = mark("know")
    code = f'''def {name}(agent_state: "AgentState", add: str) -> str:
    """Knows.

    Args:
        add: What to add.
    """
    import os

    memory = agent_state.memory
    memory.update_block_value(label="human", value=memory.get_block("human").value + add)
    return [os.environ["TOKEN"], os.environ["LETTA_AGENT_ID"] == agent_state.id, agent_state.name]
'''
    tool = client.tools.create(source_code=code)
    agent = make_agent(REHEARSED, name="Knower", tool_ids=[tool.id], secrets={"TOKEN": "first-secret"})
    assert agent.secrets is not None and [(one.key, one.value) for one in agent.secrets] == [("TOKEN", "first-secret")]
    shown = wire.get(f"/v1/agents/{agent.id}")
    assert shown["secrets"] == shown["tool_exec_environment_variables"]
    assert "first-secret" not in shown["secrets"][0]["value_enc"]
    assert wire.get(f"/v1/agents/{agent.id}", include="agent.tools")["secrets"] == []
    ran = client.agents.tools.run(name, agent_id=agent.id, args={"add": "!"})
    assert (ran.status, ran.func_return) == ("success", "['first-secret', True, 'Knower']")
    assert client.agents.blocks.retrieve("human", agent_id=agent.id).value == "Name: Ada!"
    instruction = f"Call the {name} tool with add '?' then reply with the message 'done'"
    client.agents.messages.create(agent.id, messages=user(instruction))
    assert client.agents.blocks.retrieve("human", agent_id=agent.id).value == "Name: Ada!?"
    changed = client.agents.update(agent.id, secrets={"OTHER": "o"})
    assert changed.secrets is not None and [one.key for one in changed.secrets] == ["OTHER"]
    failed = client.agents.tools.run(name, agent_id=agent.id, args={"add": "x"})
    assert (failed.status, "KeyError" in str(failed.func_return)) == ("error", True)
    assert client.agents.blocks.retrieve("human", agent_id=agent.id).value == "Name: Ada!?", (
        "what fails changes nothing"
    )
    client.blocks.update(client.agents.blocks.retrieve("human", agent_id=agent.id).id, read_only=True)
    client.agents.update(agent.id, secrets={"TOKEN": "second-secret"})
    refused = client.agents.tools.run(name, agent_id=agent.id, args={"add": "x"})
    assert (refused.status, "read-only" in str(refused.func_return)) == ("error", True)
    client.tools.delete(tool.id)


def test_built_in_tools_run_by_hand(client: Letta, make_agent: MakeAgent) -> None:
    """A memory tool edits the block at once; what it refuses is an error and changes nothing."""
    agent = make_agent(REHEARSED)
    ran = client.agents.tools.run("memory_insert", agent_id=agent.id, args={"label": "human", "new_string": "Tea."})
    assert (ran.status, ran.func_return) == ("success", "Name: Ada\nTea.")
    assert client.agents.blocks.retrieve("human", agent_id=agent.id).value == "Name: Ada\nTea."
    failed = client.agents.tools.run("memory_insert", agent_id=agent.id, args={"label": "nope", "new_string": "x"})
    assert (failed.status, "no memory block" in str(failed.func_return)) == ("error", True)
    wrong = client.agents.tools.run("memory_insert", agent_id=agent.id)
    assert (wrong.status, "lacks the required 'label'" in str(wrong.func_return)) == ("error", True)


def test_arguments_by_a_schema_of_models(wire: Wire) -> None:
    """As an SDK sends it: the function's text alone, and the schema of models whose source is not sent."""
    name = mark("plan")
    code = f'''def {name}(steps: List[Step], note: str) -> str:
    """Plan.

    Args:
        steps: Steps.
        note: Note.
    """
    return [steps[0].name, isinstance(steps[0], Step)]
'''
    step = {"title": "Step", "type": "object", "properties": {"name": {"title": "Name", "type": "string"}}}
    schema = {
        "$defs": {"Step": {**step, "required": ["name"], "description": "A step."}},
        "type": "object",
        "properties": {
            "steps": {"type": "array", "items": {"$ref": "#/$defs/Step"}, "description": "ss"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "description": "nn"},
        },
        "required": ["steps"],
    }
    tool = wire.post("/v1/tools/", {"source_code": code, "args_json_schema": schema})
    assert tool["args_json_schema"] == schema
    item = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    assert tool["json_schema"]["parameters"] == {
        "type": "object",
        "properties": {
            "steps": {"type": "array", "items": item, "description": "ss"},
            "note": {"type": "string", "description": "nn"},
        },
        "required": ["steps"],
    }
    body = {"source_code": code, "args_json_schema": schema, "args": {"steps": [{"name": "a"}], "note": "n"}}
    assert wire.post("/v1/tools/run", body)["tool_return"] == "['a', True]"
    wire.delete(f"/v1/tools/{tool['id']}")


def test_a_model_writes_a_tool(wire: Wire) -> None:
    """The tool is read and shown, and neither stored nor run; a model that writes none is an error."""
    name = mark("wrote")
    code = source(name).replace("\n", "\\n")
    said = f"Call the write_tool tool with source_code '{code}' and sample_args_json '{json.dumps({'x': 1})}'"
    before = wire.get("/v1/tools/count")
    body = {"tool_name": name, "prompt": "Double.", "validation_errors": [], "handle": REHEARSED}
    made = wire.post("/v1/tools/generate-tool", {**body, "prompt": said})
    assert (made["tool"]["name"], made["tool"]["source_code"], made["sample_args"]) == (name, source(name), {"x": 1})
    assert wire.get("/v1/tools/count") == before
    assert "wrote no tool" in wire.refuse("POST", "/v1/tools/generate-tool", 400, body)
    assert "not found" in wire.refuse("POST", "/v1/tools/generate-tool", 404, {**body, "handle": "no/such"})


def test_sandbox_configurations(wire: Wire) -> None:
    """One for this server; setting it again changes it; others' sandboxes are left out; variables reach every tool."""
    config = wire.post("/v1/sandbox-config/local/default")
    assert (config["type"], config["config"]["use_venv"]) == ("local", False)
    path = f"/v1/sandbox-config/{config['id']}"
    given = {"sandbox_dir": "/tmp/x", "use_venv": True, "venv_name": "v", "pip_requirements": []}
    assert wire.post("/v1/sandbox-config/local", given)["config"] == given
    again = wire.post("/v1/sandbox-config/", {"config": {"sandbox_dir": "/tmp/y"}})
    assert (again["id"], again["config"]["sandbox_dir"], again["config"]["use_venv"]) == (config["id"], "/tmp/y", False)
    assert wire.patch(path, {"config": given})["config"] == given
    assert wire.patch(path, {})["config"] == given
    assert [one["id"] for one in wire.get("/v1/sandbox-config/")] == [config["id"]]
    assert wire.get("/v1/sandbox-config/", sandbox_type="e2b") == []
    assert wire.post("/v1/sandbox-config/local/recreate-venv")["id"] == config["id"]
    wire.refuse("POST", "/v1/sandbox-config/", 501, {"config": {"timeout": 3}})
    wire.refuse("POST", "/v1/sandbox-config/", 422, {})
    wire.refuse("GET", "/v1/sandbox-config/", 422, sandbox_type="x")

    variable = wire.post(f"{path}/environment-variable", {"key": "ZED", "value": "first-value", "description": "d"})
    assert (variable["key"], variable["value"], variable["description"]) == ("ZED", "first-value", "d")
    assert "first-value" not in variable["value_enc"]
    same = wire.post(f"{path}/environment-variable", {"key": "ZED", "value": "two"})
    assert (same["id"], same["value"], same["description"]) == (variable["id"], "two", "d")
    one = f"/v1/sandbox-config/environment-variable/{variable['id']}"
    assert wire.patch(one, {"value": "three", "key": "ZEE"})["value"] == "three"
    assert [(each["key"], each["value"]) for each in wire.get(f"{path}/environment-variable")] == [("ZEE", "three")]
    assert wire.get(f"{path}/environment-variable", after=variable["id"]) == []
    code = 'def z():\n    """D."""\n    import os\n    return os.environ["ZEE"]\n'
    assert wire.post("/v1/tools/run", {"source_code": code, "args": {}})["tool_return"] == "three"
    own = wire.post("/v1/tools/run", {"source_code": code, "args": {}, "env_vars": {"ZEE": "own"}})
    assert own["tool_return"] == "own", "what is said for one run weighs more"
    wire.refuse("POST", f"{path}/environment-variable", 400, {"key": "A=B", "value": "x"})
    wire.delete(one)
    for method, gone in (("PATCH", one), ("DELETE", one), ("DELETE", "/v1/sandbox-config/environment-variable/nope")):
        wire.refuse(method, gone, 404, {})

    other = wire.post(f"{path}/environment-variable", {"key": "LAST", "value": "x"})
    wire.delete(path)
    wire.refuse("DELETE", f"/v1/sandbox-config/environment-variable/{other['id']}", 404)
    for method in ("PATCH", "DELETE"):
        wire.refuse(method, path, 404, {"config": {}})
    wire.refuse("GET", f"{path}/environment-variable", 404)
    wire.refuse("POST", f"{path}/environment-variable", 404, {"key": "A", "value": "x"})
    assert wire.get("/v1/sandbox-config/") == []
