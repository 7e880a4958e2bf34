"""Agents, blocks and tools over the wire: what is sent is what is shown, and what cannot be done is refused by name."""

from collections.abc import Callable
from typing import Any

import pytest

from kelpie.agent.drafts import DEFAULT_SYSTEM
from kelpie.memory.render import compile_system
from tests.unit.api.knocking import CLAUDE, MODEL, Visitor, visit

Run = Callable[[Any], Any]
UNKNOWN_AGENT = "agent-00000000-0000-4000-8000-000000000000"
UNKNOWN_BLOCK = "block-00000000-0000-4000-8000-000000000000"
UNKNOWN_TOOL = "tool-00000000-0000-4000-8000-000000000000"


async def _path(visitor: Visitor, **fields: Any) -> str:
    return f"/v1/agents/{(await visitor.agent(**fields))['id']}"


def test_what_is_said_about_an_agent_is_shown_again(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            fields: dict[str, Any] = {
                "name": "Ada's",
                "description": "d",
                "tags": ["x", "y", "x"],
                "metadata": {"k": [1, {"n": None}]},
                "system": "Be brief.",
                "timezone": "Europe/Berlin",
                "embedding": "openai/text-embedding-3-large",
                "hidden": True,
                "message_buffer_autoclear": True,
                "project_id": "p",
                "max_files_open": 3,
            }
            made = await visitor.agent(**fields)
            built_in = "kelpie/lexical-512"  # no provider is configured, and what is shown is what is used
            assert {name: made[name] for name in fields} == {**fields, "tags": ["x", "y"], "embedding": built_in}
            assert (made["model"], made["llm_config"]["handle"], made["agent_type"]) == (MODEL, MODEL, "letta_v1_agent")
            assert made["embedding_config"]["embedding_dim"] == 512
            names = [tool["name"] for tool in made["tools"]]
            assert names == ["memory_replace", "memory_insert", "conversation_search"]
            assert made["blocks"] == made["memory"]["blocks"]
            assert await visitor.ok("GET", f"/v1/agents/{made['id']}") == made

    run(scenario())


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, {"temperature": 1.0, "max_tokens": 16_384, "context_window": 128_000, "parallel_tool_calls": True}),
        (
            {"model_settings": {"temperature": 0.2, "max_output_tokens": 99, "parallel_tool_calls": False}},
            {"temperature": 0.2, "max_tokens": 99, "parallel_tool_calls": False},
        ),
        (
            {"model_settings": {"provider_type": "openai", "reasoning": {"reasoning_effort": "high"}}},
            {"reasoning_effort": "high", "enable_reasoner": True},
        ),
        (
            {"model_settings": {"thinking": {"type": "enabled", "budget_tokens": 2_000}}},
            {"max_reasoning_tokens": 2_000, "enable_reasoner": True},
        ),
        ({"max_reasoning_tokens": 3_000}, {"max_reasoning_tokens": 3_000}),
        ({"max_reasoning_tokens": 3_000, "enable_reasoner": False}, {"max_reasoning_tokens": 0}),
        ({"max_tokens": 50, "context_window_limit": 9_000}, {"max_tokens": 50, "context_window": 9_000}),
        (
            {"model": None, "llm_config": {"handle": CLAUDE, "context_window": 5_000, "temperature": 0.1}},
            {"handle": CLAUDE, "context_window": 5_000, "temperature": 0.1, "model_endpoint_type": "anthropic"},
        ),
        (
            {"model": None, "llm_config": {"model": "gpt-4o-mini", "model_endpoint_type": "openai"}},
            {"handle": MODEL, "model": "gpt-4o-mini"},
        ),
    ],
)
def test_how_the_model_is_asked_may_be_said_in_every_form(
    run: Run, fields: dict[str, Any], shown: dict[str, Any]
) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            made = await visitor.agent(**fields)
            assert {name: made["llm_config"][name] for name in shown} == shown
            assert made["model_settings"]["max_output_tokens"] == made["llm_config"]["max_tokens"]

    run(scenario())


def test_compaction_settings_are_taken_and_given_back(run: Run) -> None:
    """A model that only the client's makers have is kept, and found missing only when it is wanted."""

    async def scenario() -> None:
        async with visit() as visitor:
            given = {"model": "letta/auto", "sliding_window_percentage": 0.5, "prompt": "Sum up.", "mode": "all"}
            made = await visitor.agent(compaction_settings=given)
            assert {name: made["compaction_settings"][name] for name in given} == given
            settings = await visitor.node.house.roster.get_settings(made["id"])
            assert (settings.compaction.model, settings.compaction.keep_percent) == ("letta/auto", 50)
            assert (settings.compaction.prompt, settings.compaction.mode) == ("Sum up.", "all")

    run(scenario())


def test_an_agent_may_begin_with_messages(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await _path(visitor, initial_message_sequence=[{"role": "assistant", "content": "Welcome!"}])
            listed = await visitor.ok("GET", f"{path}/messages", query={"order": "asc"})
            assert [one["content"] for one in listed][1:] == ["Welcome!"]
            assert (await visitor.ok("GET", path))["message_ids"] == [one["id"] for one in listed]

    run(scenario())


@pytest.mark.parametrize(
    ("query", "filled"),
    [
        ({}, {"blocks", "tools", "tags"}),
        ({"include": ["agent.tags"]}, {"tags"}),
        ({"include": ["agent.blocks", "agent.tools"]}, {"blocks", "tools"}),
        ({"include": ["agent.identities"]}, set()),
        ({"include_relationships": ["memory"]}, {"blocks"}),
    ],
)
def test_include_picks_parts(run: Run, query: dict[str, Any], filled: set[str]) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await _path(visitor, tags=["t"])
            for shown in (
                await visitor.ok("GET", path, query=query),
                *await visitor.ok("GET", "/v1/agents/", query=query),
            ):
                assert {name for name in ("blocks", "tools", "tags") if shown[name]} == filled

    run(scenario())


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"model": None}, 400, "INVALID_ARGUMENT: Must specify either model or llm_config in request"),
    ({"model": "openai/nope"}, 404, "NOT_FOUND: Handle openai/nope not found, must be one of"),
    ({"name": 7}, 422, "('body', 'name')"),
    ({"name": "x" * 300}, 422, "256"),
    ({"agent_type": "nope"}, 422, "('body', 'agent_type')"),
    ({"memory_blocks": [{"label": "a"}]}, 422, "('body', 'memory_blocks', 0, 'value')"),
    ({"memory_blocks": [{"label": "a", "value": "12345", "limit": 3}]}, 422, "limit is 3"),
    ({"memory_blocks": [{"label": "a", "value": "x" * 200_001}]}, 422, "200000"),
    ({"block_ids": ["nope"]}, 422, "('body', 'block_ids', 0)"),
    ({"block_ids": [UNKNOWN_BLOCK]}, 404, UNKNOWN_BLOCK),
    ({"tool_ids": [UNKNOWN_TOOL]}, 404, UNKNOWN_TOOL),
    ({"tools": ["web_search"]}, 400, "web_search"),
    ({"tool_rules": [{"type": "run_twice", "tool_name": "x"}]}, 422, "run_twice"),
    ({"tool_rules": [{"type": "exit_loop", "tool_name": "x", "args": {}}]}, 422, "unknown field"),
    ({"secrets": {"A=B": "b"}}, 400, "'A=B' is no name of a variable"),
    ({"response_format": {"type": "poem"}}, 400, "'poem' is no form of a reply"),
    ({"timezone": "Mars"}, 400, "timezone"),
    ({"context_window_limit": 5}, 400, "context_window_limit"),
    ({"metadata": {"x": "y" * 70_000}}, 422, "metadata"),
    ({"compaction_settings": {"sliding_window_percentage": 2}}, 422, "sliding_window_percentage"),
]


@pytest.mark.parametrize(("fields", "status", "words"), REFUSED)
def test_what_cannot_be_made_is_refused_and_nothing_is_stored(
    run: Run, fields: dict[str, Any], status: int, words: str
) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            reply = await visitor.call("POST", "/v1/agents/", {"model": MODEL, **fields})
            assert (reply.status, words in reply.json["detail"]) == (status, True), reply.body
            assert await visitor.ok("GET", "/v1/agents/count") == 0
            assert await visitor.ok("GET", "/v1/blocks/count") == 0

    run(scenario())


def test_an_edit_changes_what_it_names(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await _path(visitor, max_tokens=50)
            before = await visitor.ok("GET", path)
            changed = await visitor.ok("PATCH", path, {"name": "new", "tags": ["z"], "system": "S"})
            assert {name for name in before if before[name] != changed[name]} == {
                "name",
                "tags",
                "system",
                "updated_at",
            }
            other = await visitor.ok("PATCH", path, {"model": CLAUDE, "model_settings": {"temperature": 0.3}})
            config = other["llm_config"]
            assert (config["handle"], config["temperature"], config["max_tokens"]) == (CLAUDE, 0.3, 50)
            assert (await visitor.ok("PATCH", path, {}))["updated_at"] >= other["updated_at"]
            refused = await visitor.call("PATCH", path, {"message_ids": []})
            assert refused.status == 200, "an empty list asks for nothing"
            refused = await visitor.call("PATCH", path, {"message_ids": ["message-1"]})
            assert (refused.status, "message_ids" in refused.json["detail"]) == (422, True)

    run(scenario())


def test_blocks_are_shared_by_label_and_by_id(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            block = await visitor.ok(
                "POST", "/v1/blocks/", {"label": "a/b", "value": "v", "limit": 50, "metadata": {"k": 1}}
            )
            paths = [await _path(visitor) for _ in range(2)]
            for path in paths:
                await visitor.ok("PATCH", f"{path}/core-memory/blocks/attach/{block['id']}")
            changed = await visitor.ok("PATCH", f"{paths[0]}/core-memory/blocks/a%2Fb", {"value": "w"})
            assert changed == {**block, "value": "w"}
            assert await visitor.ok("GET", f"{paths[1]}/core-memory/blocks/a%2Fb") == changed
            assert await visitor.ok("GET", f"/v1/blocks/{block['id']}") == changed
            listed = await visitor.ok("GET", f"{paths[0]}/core-memory/blocks")
            assert [one["label"] for one in listed] == ["a/b", "human"]
            agents = await visitor.ok("GET", f"/v1/blocks/{block['id']}/agents")
            assert [f"/v1/agents/{one['id']}" for one in agents] == paths[::-1]
            renamed = await visitor.ok("PATCH", f"/v1/blocks/{block['id']}", {"label": "c"})
            assert await visitor.ok("GET", f"{paths[1]}/core-memory/blocks/c") == renamed
            clash = await visitor.call("PATCH", f"/v1/blocks/{block['id']}", {"label": "human"})
            assert (clash.status, "'human'" in clash.json["detail"]) == (409, True)
            detached = await visitor.ok("PATCH", f"{paths[1]}/core-memory/blocks/detach/{block['id']}")
            assert [one["label"] for one in detached["blocks"]] == ["human"]
            assert await visitor.ok("DELETE", f"/v1/blocks/{block['id']}") is None
            assert [one["label"] for one in (await visitor.ok("GET", paths[0]))["blocks"]] == ["human"]
            assert (await visitor.call("DELETE", f"/v1/blocks/{block['id']}")).status == 404

    run(scenario())


def test_blocks_are_listed_page_by_page_and_filtered(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            for label in ("a", "b", "c"):
                await visitor.ok(
                    "POST", "/v1/blocks/", {"label": label, "value": f"text {label}", "tags": [label, "all"]}
                )

            async def labels(**query: Any) -> list[str]:
                return [one["label"] for one in await visitor.ok("GET", "/v1/blocks/", query=query)]

            first = (await visitor.ok("GET", "/v1/blocks/", query={"limit": 1}))[0]
            assert await labels() == ["a", "b", "c"] and await labels(order="desc") == ["c", "b", "a"]
            assert await labels(after=first["id"]) == ["b", "c"]
            assert await labels(label="b") == ["b"] and await labels(tags=["a", "c"]) == ["a", "c"]
            assert await labels(value_search="TEXT C") == ["c"]
            assert await visitor.ok("GET", "/v1/blocks/count", query={"tags": "all"}) == 3
            for query in ({"limit": 0}, {"limit": 1_001}, {"after": "x"}, {"order": "up"}):
                assert (await visitor.call("GET", "/v1/blocks/", query=query)).status == 422

    run(scenario())


def test_tools_are_listed_filtered_attached_and_detached(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            listed = {one["name"]: one for one in await visitor.ok("GET", "/v1/tools/", query={"limit": 100})}
            assert await visitor.ok("GET", "/v1/tools/count") == len(listed)
            insert = listed["memory_insert"]
            assert await visitor.ok("GET", f"/v1/tools/{insert['id']}") == insert
            assert await visitor.ok("GET", "/v1/tools", query={"name": "memory_insert"}) == [insert]
            path = await _path(visitor, include_base_tools=False, tools=["conversation_search"])
            for _ in range(2):
                shown = await visitor.ok("PATCH", f"{path}/tools/attach/{insert['id']}")
                assert [one["name"] for one in shown["tools"]] == ["conversation_search", "memory_insert"]
            assert (await visitor.ok("GET", f"{path}/tools"))[0] == insert
            shown = await visitor.ok("PATCH", f"{path}/tools/detach/{insert['id']}")
            assert [one["name"] for one in shown["tools"]] == ["conversation_search"]
            assert (await visitor.call("PATCH", f"{path}/tools/attach/{UNKNOWN_TOOL}")).status == 404

    run(scenario())


def test_the_prompt_is_shown_as_the_model_is_given_it(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await _path(visitor)
            view = await visitor.node.house.roster.get(path.rpartition("/")[2])  # type: ignore[arg-type]
            prompt = compile_system(DEFAULT_SYSTEM, view.blocks)
            assert await visitor.ok("POST", f"{path}/recompile") == prompt
            assert await visitor.ok("POST", f"{path}/system-prompt/recompile") == prompt
            memory = await visitor.ok("GET", f"{path}/core-memory")
            assert [one["label"] for one in memory["blocks"]] == ["human"]

    run(scenario())


def test_a_reset_agent_has_an_empty_window_and_its_history(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            path = await _path(visitor)
            await visitor.ok("POST", f"{path}/messages", {"input": "hi"})
            shown = await visitor.ok("PATCH", f"{path}/reset-messages", {"add_default_initial_messages": False})
            assert len(shown["message_ids"]) == 1
            assert len(await visitor.ok("GET", f"{path}/messages")) == 3

    run(scenario())


def test_a_deleted_agent_is_gone_and_its_blocks_stay(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            made = await visitor.agent()
            path = f"/v1/agents/{made['id']}"
            gone = await visitor.ok("DELETE", path)
            assert gone == {"message": f"Agent id={made['id']} successfully deleted"}
            for method, rest in (
                ("GET", ""),
                ("DELETE", ""),
                ("PATCH", ""),
                ("GET", "/messages"),
                ("GET", "/core-memory/blocks"),
                ("GET", "/tools"),
                ("PATCH", "/reset-messages"),
                ("POST", "/recompile"),
            ):
                reply = await visitor.call(method, path + rest, {} if method == "PATCH" else None)
                assert (reply.status, made["id"] in reply.json["detail"]) == (404, True), (method, rest)
            block_id = made["blocks"][0]["id"]
            assert (await visitor.ok("GET", f"/v1/blocks/{block_id}"))["value"] == "H"
            assert await visitor.ok("GET", f"/v1/blocks/{block_id}/agents") == []

    run(scenario())


def test_models_health_and_tags(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            await visitor.agent(tags=["b", "a"])
            assert await visitor.ok("GET", "/v1/tags/") == ["a", "b"]
            assert [one["handle"] for one in await visitor.ok("GET", "/v1/models/")] == [MODEL, CLAUDE]
            query = {"provider_type": "anthropic"}
            assert [one["handle"] for one in await visitor.ok("GET", "/v1/models/", query=query)] == [CLAUDE]
            for path in ("/v1/health/", "/v1/health", "/latest/health", "/v1/ready/"):
                assert (await visitor.ok("GET", path))["version"] == "0.16.8"

    run(scenario())
