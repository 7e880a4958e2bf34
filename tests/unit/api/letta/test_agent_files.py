"""Agent files: what comes in goes out as it was, in both forms; what a file cannot say is refused by name."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kelpie.llm.messages import ModelReply, ToolCallPart, Usage
from tests.unit.api.knocking import Visitor, say, visit

FIXTURES = Path(__file__).parents[3] / "wire" / "genuine" / "fixtures"
BOUNDARY = "x-boundary"
Run = Callable[[Any], Any]


async def upload(visitor: Visitor, file: Any, *, text: str | None = None, **fields: str) -> Any:
    """The answer to an import."""
    content = json.dumps(file) if text is None else text
    parts = [("file", 'filename="a.af"', content), *[(name, "", value) for name, value in fields.items()]]
    lines = [
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"{"; " if more else ""}{more}\r\n\r\n{value}\r\n'
        for name, more, value in parts
    ]
    body = "".join([*lines, f"--{BOUNDARY}--\r\n"]).encode()
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return await visitor.call("POST", "/v1/agents/import", body, headers=headers)


async def taken_in(visitor: Visitor, file: Any, **fields: str) -> str:
    """The id of the one agent of a file that must be taken in."""
    answer = await upload(visitor, file, append_copy_suffix="false", **fields)
    assert answer.status == 200, answer.body
    (agent_id,) = answer.json["agent_ids"]
    return agent_id


async def exported(visitor: Visitor, agent_id: str, **query: Any) -> Any:
    """The agent as a file, without the date of the writing."""
    file = await visitor.ok("GET", f"/v1/agents/{agent_id}/export", query=query)
    file.pop("created_at")
    return file


async def talker(visitor: Visitor) -> str:
    """An agent that has called a tool."""
    tools = {"tool_exec_environment_variables": {}, "tags": ["b", "a"], "metadata": {"x": [1, None]}}
    agent = await visitor.agent(name="ada", system="Be brief.", description="d", **tools)
    call = ToolCallPart(call_id="c1", name="memory_insert", arguments='{"label": "human", "new_string": "tea"}')
    visitor.models.script = [ModelReply(parts=(call,), finish="tool_calls", usage=Usage()), say("done")]
    await visitor.ok("POST", f"/v1/agents/{agent['id']}/messages", {"input": "remember tea"})
    return agent["id"]


def genuine(name: str) -> Any:
    """A file that a genuine 0.16.8 wrote."""
    return json.loads(gzip.decompress((FIXTURES / f"{name}.af.gz").read_bytes()))


def test_an_exported_agent_comes_back_the_same(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            first = await exported(visitor, await talker(visitor))
            again = await exported(visitor, await taken_in(visitor, first))
            assert again == first
            roles = [message["role"] for message in first["agents"][0]["messages"]]
            assert roles == ["system", "user", "assistant", "tool", "assistant"]

    run(scenario())


def test_an_imported_agent_goes_on_where_it_stood(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            agent_id = await taken_in(visitor, await exported(visitor, await talker(visitor)))
            visitor.models.requests.clear()
            await visitor.ok("POST", f"/v1/agents/{agent_id}/messages", {"input": "and now?"})
            said = [(message.role, message.parts[0]) for message in visitor.models.requests[0].messages]
            assert [role for role, _ in said] == ["user", "assistant", "tool", "assistant", "user"]
            assert [block["value"] for block in await visitor.ok("GET", f"/v1/agents/{agent_id}/core-memory/blocks")]

    run(scenario())


def test_the_first_form_comes_back_the_same(run: Run) -> None:
    """Goal: dates and versions that only the first form says survive. Method: they are made odd before the import."""

    async def scenario() -> None:
        async with visit() as visitor:
            first = await visitor.ok(
                "GET", f"/v1/agents/{await talker(visitor)}/export", query={"use_legacy_format": "true"}
            )
            first["version"], first["created_at"], first["updated_at"] = "0.6.1", "2025-01-01T00:00:00", "2025-02-01"
            first["core_memory"][0]["created_at"] = first["messages"][2]["updated_at"] = "2025-03-01T00:00:00"
            agent_id = await taken_in(visitor, first)
            query = {"use_legacy_format": "true"}
            assert await visitor.ok("GET", f"/v1/agents/{agent_id}/export", query=query) == first

    run(scenario())


def test_what_changed_since_the_import_is_exported_as_it_is_now(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            file = await exported(visitor, await talker(visitor))
            file["agents"][0]["llm_config"]["display_name"] = "Theirs"
            file["agents"][0]["hidden"] = None
            agent_id = await taken_in(visitor, file)
            assert (await exported(visitor, agent_id))["agents"][0]["llm_config"]["display_name"] == "Theirs"
            settings = {"temperature": 0.5}
            await visitor.ok("PATCH", f"/v1/agents/{agent_id}", {"model_settings": settings, "name": "eve"})
            agent = (await exported(visitor, agent_id))["agents"][0]
            assert (agent["llm_config"]["display_name"], agent["llm_config"]["temperature"]) == (None, 0.5)
            assert agent["name"] == "eve"

    run(scenario())


def test_options_of_the_import(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            file = await exported(visitor, await talker(visitor))
            (copy_id,) = (await upload(visitor, file)).json["agent_ids"]
            assert (await visitor.ok("GET", f"/v1/agents/{copy_id}"))["name"] == "ada_copy"
            named = await taken_in(visitor, file, name="eve", strip_messages="true", project_id="p")
            eve = await visitor.ok("GET", f"/v1/agents/{named}")
            assert (eve["name"], len(eve["message_ids"]), eve["project_id"]) == ("eve", 1, "p")
            twice = await upload(visitor, None, text=json.dumps(json.dumps(file)))
            assert twice.status == 200
            unknown = await upload(visitor, file, model="openai/none")
            assert (unknown.status, "NOT_FOUND: Handle openai/none" in unknown.json["detail"]) == (404, True)

    run(scenario())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda file: file["agents"][0].update(id="nobody"), "Invalid ID format: nobody"),
        (lambda file: file["agents"][0].update(tool_ids=["tool-99"]), "agent-0 references non-existent tool-99"),
        (lambda file: file["blocks"].append(file["blocks"][0]), "Duplicate ID: block-0"),
        (lambda file: file.pop("groups"), "missing required field `groups`"),
        (lambda file: file["agents"][0]["messages"][0].update(role="ghost"), "'ghost' is not the role"),
        (lambda file: file["agents"][0].update(agent_type="toaster"), "agent-0: Invalid enum value 'toaster'"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(run: Run, change: Callable[[Any], Any], sentence: str) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            file = await exported(visitor, await talker(visitor))
            change(file)
            answer = await upload(visitor, file)
            assert answer.status == 400
            assert sentence in answer.json["detail"]
            listed = await visitor.ok("GET", "/v1/agents/")
            assert [agent["name"] for agent in listed] == ["ada"], "nothing of it is made"
            assert await visitor.ok("GET", "/v1/blocks/count") == 1

    run(scenario())


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "{}", '{"agents": 1}'])
def test_what_is_no_agent_file_is_refused(run: Run, text: str) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            answer = await upload(visitor, None, text=text)
            assert (answer.status, "Corrupted agent file format" in answer.json["detail"]) == (400, True)

    run(scenario())


def test_messages_may_be_left_out_and_skills_go_along(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            agent_id = await talker(visitor)
            scrubbed = await exported(visitor, agent_id, scrub_messages="true")
            assert (scrubbed["agents"][0]["messages"], scrubbed["agents"][0]["in_context_message_ids"]) == ([], [])
            assert await taken_in(visitor, scrubbed)
            skill = {"name": "s", "files": {"SKILL.md": "x"}, "source_url": None}
            file = await visitor.ok("POST", f"/v1/agents/{agent_id}/export", {"skills": [skill]})
            assert file["skills"] == [skill]
            refused = await visitor.call("POST", f"/v1/agents/{agent_id}/export", {"skills": [{"name": "s"}]})
            assert refused.status == 422
            assert (await visitor.ok("POST", f"/v1/agents/{agent_id}/export"))["skills"] == []
            missing = "agent-00000000-0000-4000-8000-000000000000"
            assert (await visitor.call("GET", f"/v1/agents/{missing}/export")).status == 404

    run(scenario())


def test_an_answer_to_an_approval_goes_along(run: Run) -> None:
    """Goal: what a person allowed or not stands in the file, and comes in again."""

    async def scenario() -> None:
        async with visit() as visitor:
            agent = await visitor.agent(name="ada", include_base_tools=True)
            path = f"/v1/agents/{agent['id']}"
            await visitor.ok("PATCH", f"{path}/tools/approval/memory_insert", {"requires_approval": True})
            call = ToolCallPart(call_id="c1", name="memory_insert", arguments='{"label": "human", "new_string": "tea"}')
            visitor.models.script = [ModelReply(parts=(call,), finish="tool_calls", usage=Usage()), say("as you like")]
            await visitor.ok("POST", f"{path}/messages", {"input": "remember tea"})
            no = {"type": "approval", "tool_call_id": "c1", "approve": False, "reason": "coffee"}
            await visitor.ok("POST", f"{path}/messages", {"messages": [{"type": "approval", "approvals": [no]}]})
            file = await exported(visitor, agent["id"])
            (answer,) = [message for message in file["agents"][0]["messages"] if message["role"] == "approval"]
            assert (answer["approvals"], answer["tool_returns"]) == ([no], [])
            assert await exported(visitor, await taken_in(visitor, file)) == file

    run(scenario())


@pytest.mark.parametrize("change", [{"data": "not base64!"}, {"data": None}, {"media_type": "image/tiff"}])
def test_a_picture_that_is_not_there_is_refused(run: Run, change: Any) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            file = genuine("ada")
            parts = [part for message in file["agents"][0]["messages"] for part in message["content"]]
            (picture,) = [part for part in parts if part["type"] == "image"]
            picture["source"].update(change)
            answer = await upload(visitor, file)
            assert (answer.status, "picture" in answer.json["detail"]) == (400, True)
            assert await visitor.ok("GET", "/v1/folders/count") == 0

    run(scenario())


@pytest.mark.parametrize("name", ["ada", "cleo", "eve", "ida", "jon", "weather"])
def test_a_genuine_file_goes_out_as_it_came_in(run: Run, name: str) -> None:
    """Goal: what a genuine server wrote is written the same by ours, folders, groups, tool servers and all.

    Method: but for ids, what the file names and has not, and the order of its files, which there is none.
    """

    async def scenario() -> None:
        async with visit() as visitor:
            file = genuine(name)
            answer = await upload(visitor, file, append_copy_suffix="false")
            assert answer.status == 200, answer.body
            there = {"ida": ["source-1"], "jon": ["group-1"]}.get(name, [])
            for missing in there:
                assert missing.encode() in answer.headers[b"x-kelpie-note"]
            file.pop("created_at")
            again = await exported(visitor, answer.json["agent_ids"][0])
            assert _comparable(again) == _comparable(file, without=there)

    run(scenario())


def _comparable(file: Any, without: list[str] | None = None) -> Any:
    """Without what is told in no order, and ids that no two servers share."""
    file["files"].sort(key=lambda one: one["id"])
    for agent in file["agents"]:
        for field in ("source_ids", "group_ids"):
            agent[field] = [id for id in agent[field] if id not in (without or [])]
        for link in agent["files_agents"]:
            assert link.pop("id").startswith("file_agent-")
    return file
