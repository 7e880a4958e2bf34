"""What agents have around them in their files: folders with files, groups, tool servers; out, in, and out the same."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.api.knocking import Visitor, visit
from tests.unit.api.letta.test_agent_files import Run, exported, genuine, taken_in, upload

WAIT_POLLS_MAX = 400


async def in_full(visitor: Visitor) -> tuple[str, Any]:
    """An agent that has everything, made of genuine files and by requests; its id and its file."""
    answer = await upload(visitor, genuine("ida"), append_copy_suffix="false")
    ida, helper = answer.json["agent_ids"]
    (weather,) = (await upload(visitor, genuine("weather"))).json["agent_ids"]
    (tool,) = await visitor.ok("GET", f"/v1/agents/{weather}/tools")
    await visitor.ok("PATCH", f"/v1/agents/{ida}/tools/attach/{tool['id']}")
    block = await visitor.ok("POST", "/v1/blocks/", {"label": "cabin", "value": "Dry."})
    rule = {"manager_type": "supervisor", "manager_agent_id": ida}
    group = {"agent_ids": [weather, helper], "description": "watch", "manager_config": rule}
    await visitor.ok("POST", "/v1/groups/", {**group, "shared_block_ids": [block["id"]]})
    inner = {"manager_type": "dynamic", "manager_agent_id": weather, "termination_token": "ENOUGH", "max_turns": 3}
    await visitor.ok("POST", "/v1/groups/", {"agent_ids": [helper], "description": "inner", "manager_config": inner})
    drawer = await visitor.ok("POST", "/v1/folders/", {"name": "drawer", "metadata": {"shelf": [1, None]}})
    await visitor.ok("PATCH", f"/v1/agents/{weather}/folders/attach/{drawer['id']}")
    await settled(visitor, ida)
    return ida, await exported(visitor, ida)


async def settled(visitor: Visitor, agent_id: str) -> list[Any]:
    """The files of an agent when they are embedded."""
    for _ in range(WAIT_POLLS_MAX):
        folders = await visitor.ok("GET", f"/v1/agents/{agent_id}/folders")
        files = [one for each in folders for one in await visitor.ok("GET", f"/v1/folders/{each['id']}/files")]
        if all(one["processing_status"] in ("completed", "error") for one in files):
            return files
        await asyncio.sleep(0.02)
    raise AssertionError(files)


def test_everything_around_an_agent_comes_back_the_same(run: Run) -> None:
    """Goal: two groups, one of them of an agent that leads one itself, a helper, folders and a tool server survive."""

    async def scenario() -> None:
        async with visit() as visitor:
            ida, first = await in_full(visitor)
            counts = {section: len(first[section]) for section in ("agents", "groups", "sources", "files")}
            assert counts == {"agents": 3, "groups": 3, "sources": 2, "files": 2}
            assert [group.get("shared_blocks") for group in first["groups"]] == [None, ["block-1"], None]
            (server,) = first["mcp_servers"]
            answer = await upload(visitor, first, append_copy_suffix="false")
            assert b"not in the file" not in answer.headers[b"x-kelpie-note"]
            copy = answer.json["agent_ids"][0]
            assert _undated(await exported(visitor, copy)) == _undated(first)
            assert [one["server_name"] for one in await visitor.ok("GET", "/v1/mcp-servers/")] == [
                server["server_name"]
            ]
            names = sorted(folder["name"].partition("_")[0] for folder in await visitor.ok("GET", "/v1/folders/"))
            assert names == ["drawer", "drawer", "logbook", "logbook"], "a folder's name is unique here"

        async with visit() as another:
            copy = await upload(another, first, append_copy_suffix="false")
            assert _undated(await exported(another, copy.json["agent_ids"][0])) == _undated(first)

    run(scenario())


def test_what_comes_in_works(run: Run) -> None:
    """Goal: files are embedded and found, the one that was open is seen where it was, the group is the agent's."""

    async def scenario() -> None:
        async with visit() as visitor:
            answer = await upload(visitor, genuine("ida"), append_copy_suffix="false")
            ida, helper = answer.json["agent_ids"]
            files = {one["file_name"]: one for one in await settled(visitor, ida)}
            assert {name: one["processing_status"] for name, one in files.items()} == {
                "log.txt": "completed",
                "crew.md": "completed",
            }
            folder_id = files["log.txt"]["source_id"]
            assert len(await visitor.ok("GET", f"/v1/folders/{folder_id}/passages")) == sum(
                one["total_chunks"] for one in files.values()
            )
            (opened,) = (await visitor.ok("GET", f"/v1/agents/{ida}/files", query={"is_open": "true"}))["files"]
            assert (opened["file_name"], opened["start_line"], opened["end_line"]) == ("logbook/log.txt", 11, 15)
            group = (await visitor.ok("GET", f"/v1/agents/{ida}"))["multi_agent_group"]
            assert (group["manager_type"], group["agent_ids"], group["sleeptime_agent_frequency"]) == (
                "sleeptime",
                [helper],
                5,
            )

    run(scenario())


def test_our_file_has_the_form_of_a_genuine_one(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            _, ours = await in_full(visitor)
            for name in ("ida", "weather"):
                for section, theirs in genuine(name).items():
                    if isinstance(theirs, list) and theirs:
                        assert ours[section][0].keys() == theirs[0].keys(), section

    run(scenario())


REFUSED: list[tuple[str, Callable[[Any], Any], str]] = [
    ("jon", lambda file: file["groups"][0]["manager_config"].update(manager_type="swarm"), "group-0: 'swarm' is no"),
    ("jon", lambda file: file["groups"][0]["manager_config"].pop("manager_agent_id"), "group-0: it has no manager"),
    ("jon", lambda file: file["groups"][0].update(agent_ids=["agent-9"]), "group-0 references non-existent agent-9"),
    ("jon", lambda file: file["groups"][0]["manager_config"].update(max_turns=0), "max_turns"),
    ("ida", lambda file: file["files"][1].update(file_name=file["files"][0]["file_name"]), "another file"),
    ("ida", lambda file: file["files"][0].update(source_id="source-7"), "references non-existent source-7"),
    ("ida", lambda file: file["files"][0].update(content="x" * 1_000_001), "characters: over the limit"),
    ("ida", lambda file: file["files"][0].update(source_id="agent-0"), "references non-existent agent-0"),
    ("ida", lambda file: file["files"][0].update(source_id={}), "Expected `str`"),
    ("ida", lambda file: file["agents"][0].update(source_ids=[{}]), "Expected `str`"),
    ("ida", lambda file: file["agents"][0]["messages"][0].update(approvals=[1]), "Expected `object`"),
    ("ida", lambda file: file["agents"][1].update(timezone="Mars/Base"), "time zone"),
    ("ida", lambda file: file["sources"][0].update(id="source-\u00b2"), "Invalid ID format"),
    ("ida", lambda file: file["agents"].extend({"id": f"agent-{n}"} for n in range(9, 199)), "192 agents are over"),
    ("ida", lambda file: file["agents"][0].update(source_ids=[]), "not its folder source-0"),
    ("ida", lambda file: file["sources"][0].update(name="\n"), "a folder's name"),
    ("ida", lambda file: file["sources"][0]["embedding_config"].update(embedding_chunk_size=0), "source-0: a chunk"),
    ("ida", lambda file: file["agents"][0].update(folder_ids=[f"source-{'0' * 8}-0000-4000-8000-{'0' * 12}"]), "not"),
    ("weather", lambda file: file["mcp_servers"][0].update(server_url="ftp://x"), "ftp"),
    (
        "weather",
        lambda file: file["mcp_servers"][0].update(server_type="stdio", stdio_config={"command": "sh"}),
        "stdio is not supported",
    ),
]


@pytest.mark.parametrize(("name", "change", "sentence"), REFUSED)
def test_what_makes_no_sense_is_refused_by_name(
    run: Run, name: str, change: Callable[[Any], Any], sentence: str
) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            file = genuine(name)
            change(file)
            answer = await upload(visitor, file)
            assert answer.status in (400, 404, 422), answer.body
            assert sentence in answer.body.decode()
            for path in ("/v1/agents/count", "/v1/folders/count", "/v1/groups/count", "/v1/blocks/count"):
                assert await visitor.ok("GET", path) == 0, "nothing of it is made"
            assert await visitor.ok("GET", "/v1/mcp-servers/") == []

    run(scenario())


def test_a_file_without_a_text_says_so(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            file = genuine("ida")
            files = {one["original_file_name"]: one for one in file["files"]}
            files["crew.md"].update(content=None, processing_status="error", error_message="no such page")
            files["log.txt"].update(content=None)
            ida = (await upload(visitor, file, append_copy_suffix="false")).json["agent_ids"][0]
            shown = {one["file_name"]: one for one in await settled(visitor, ida)}
            assert (shown["crew.md"]["processing_status"], shown["crew.md"]["error_message"]) == (
                "error",
                "no such page",
            )
            assert "not in the agent file" in shown["log.txt"]["error_message"]

    run(scenario())


def test_what_is_said_of_a_file_fits_into_a_header(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            file = genuine("eve")
            file["agents"][0].update(source_ids=["source-\u00e4\r\nx: y"], group_ids=[f"group-{n}" for n in range(50)])
            answer = await upload(visitor, file)
            note = answer.headers[b"x-kelpie-note"]
            assert (answer.status, note.startswith(b"source-\\xe4\\r\\nx: y of agent-0 is not")) == (200, True)
            assert note.endswith(b"; and 41 more")

    run(scenario())


def test_the_first_form_says_what_it_has_no_place_for(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            ida = (await upload(visitor, genuine("ida"))).json["agent_ids"][0]
            plain = await taken_in(visitor, genuine("eve"))
            for agent_id, noted in ((ida, True), (plain, False)):
                path, query = f"/v1/agents/{agent_id}/export", {"use_legacy_format": "true"}
                answer = await visitor.call("GET", path, query=query)
                assert (answer.status, b"x-kelpie-note" in answer.headers) == (200, noted)

    run(scenario())


def test_a_template_of_an_agent_shares_its_folders_and_makes_its_group(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            ida = (await upload(visitor, genuine("ida"), append_copy_suffix="false")).json["agent_ids"][0]
            (folder,) = await visitor.ok("GET", f"/v1/agents/{ida}/folders")
            await visitor.ok("POST", "/v1/templates", {"type": "agent", "agent_id": ida, "name": "t"})
            opening = [{"role": "user", "content": "hello"}]
            asked = {"agent_name": "Eva", "initial_message_sequence": opening}
            made = await visitor.ok("POST", "/v1/templates/t:latest/agents", asked)
            first, helper = made["agent_ids"]
            group = await visitor.ok("GET", f"/v1/groups/{made['group_id']}")
            assert (group["manager_agent_id"], group["agent_ids"]) == (first, [helper])
            agents = [await visitor.ok("GET", f"/v1/agents/{agent_id}") for agent_id in made["agent_ids"]]
            assert [agent["name"] for agent in agents] == ["Eva", "Eva-ida-sleeptime"]
            assert [len(agent["message_ids"]) for agent in agents] == [2, 1], "the helper is not greeted"
            assert [one["id"] for one in await visitor.ok("GET", f"/v1/agents/{first}/folders")] == [folder["id"]]
            await visitor.ok("DELETE", f"/v1/folders/{folder['id']}")
            refused = await visitor.call("POST", "/v1/templates/t:latest/agents", {})
            assert (refused.status, folder["id"] in refused.json["detail"]) == (404, True)

    run(scenario())


def _undated(file: Any) -> Any:
    """Without the ids and times that are the copy's own."""
    for agent in file["agents"]:
        for link in agent["files_agents"]:
            link.pop("id", None)
    for tool in file["tools"]:
        tool["metadata_"].get("mcp", {}).pop("server_id", None)
    return file
