"""Moving in from what a genuine retired server kept: everything is read, nothing is lost in silence."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kelpie.agent.secrets import open_secrets
from kelpie.errors import SecretUnreadable
from kelpie.importing.letta.agents import with_notes
from kelpie.importing.letta.ground import Ground
from kelpie.importing.letta.plan import move_all
from kelpie.importing.letta.secrets import OldSecrets, seal_as_there
from kelpie.importing.report import Report, lines_of
from kelpie.memory.block_history import list_versions
from kelpie.memory.passages import unpack_vector
from tests.unit.api.knocking import Visitor, visit
from tests.unit.importing.rows import RowsFile

KEY = "old-servers-key"
RELEASES = ("0.16.8", "0.11.7")
Run = Callable[[Any], Any]


async def move(visitor: Visitor, source: RowsFile, *, dry: bool = False, note: Any = lambda kind: None) -> Report:
    ground = Ground(house=visitor.node.house, source=source, secrets=OldSecrets(KEY), models={})
    return await move_all(ground, "a fixture", "fixture", dry=dry, note=note)


def counts(report: Report) -> dict[str, tuple[int, int, int]]:
    """Kind -> carried, present, left."""
    return {
        name: (each.carried, each.present, sum(left.count for left in each.left)) for name, each in report.kinds.items()
    }


@pytest.mark.parametrize("release", RELEASES)
def test_every_row_is_accounted_for(run: Run, release: str) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            source = RowsFile(release)
            report = await move(visitor, source)
            assert report.sound
            for progress in report.kinds.values():
                assert progress.read == progress.carried + progress.present + sum(left.count for left in progress.left)
            left = {table for each in report.left_tables for table in each.named}
            moved = {"tools", "block", "agents", "conversations", "providers", "mcp_server"}
            assert not left & moved

    run(scenario())


@pytest.mark.parametrize("release", RELEASES)
def test_what_moved_is_as_it_was(run: Run, release: str) -> None:
    """Goal: agents, blocks and messages are shown as the old server kept them, under their old ids."""

    async def scenario() -> None:
        async with visit() as visitor:
            source = RowsFile(release)
            report = await move(visitor, source)
            left = {id for each in report.kinds["agents"].left for id in each.named}
            for row in source.held["block"]:
                block = await visitor.ok("GET", f"/v1/blocks/{row['id']}")
                assert (block["label"], block["value"], block["limit"]) == (row["label"], row["value"], row["limit"])
            for row in [row for row in source.held["agents"] if row["id"] not in left]:
                agent = await visitor.ok("GET", f"/v1/agents/{row['id']}")
                assert agent["message_ids"] == row["message_ids"]
                told = {name: agent[name] for name in ("name", "system", "agent_type", "description", "timezone")}
                assert told == {name: row[name] for name in told}
                assert agent["metadata"] == row["metadata_"]
                assert agent["llm_config"]["handle"] == row["llm_config"]["handle"]
                assert {block["label"] for block in agent["blocks"]} == {
                    link["block_label"] for link in source.held["blocks_agents"] if link["agent_id"] == row["id"]
                }

    run(scenario())


def test_a_second_move_finds_everything_in_its_place(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            first = await move(visitor, RowsFile("0.16.8"))
            again = await move(visitor, RowsFile("0.16.8"))
            assert again == first, "the journal says what was done"

    run(scenario())


@pytest.mark.parametrize("stop_after", [1, 7, 33, 40, 47])
def test_a_move_that_is_cut_off_goes_on_where_it_stood(run: Run, stop_after: int) -> None:
    """Goal: the end is the same. Method: the move dies after so many rows, in the middle of a kind, and is repeated."""

    class Killed(Exception):
        pass

    async def scenario() -> None:
        async with visit() as whole, visit() as cut:
            expected = await move(whole, RowsFile("0.16.8"))
            seen = 0

            def note(kind: str) -> None:
                nonlocal seen
                seen += 1
                if seen == stop_after:
                    raise Killed

            with pytest.raises(Killed):
                await move(cut, RowsFile("0.16.8"), note=note)
            report = await move(cut, RowsFile("0.16.8"))
            assert counts(report) == counts(expected)
            assert report.sound

    run(scenario())


def test_a_dry_run_counts_and_writes_nothing(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            dry = await move(visitor, RowsFile("0.16.8"), dry=True)
            assert await visitor.ok("GET", "/v1/agents/count") == 0
            assert await visitor.ok("GET", "/v1/blocks/count") == 0
            assert counts(dry) == counts(await move(visitor, RowsFile("0.16.8")))

    run(scenario())


def test_the_report_names_what_stays(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            lines = lines_of(await move(visitor, RowsFile("0.16.8")))
            text = "\n".join(lines)
            assert "2 providers: it came from the old server's settings; set the same variables here" in text
            assert "1 rows of users: this server has one user" in text

    run(scenario())


def test_secrets_are_opened_with_the_old_key_only() -> None:
    sealed = seal_as_there("sk-of-mine", KEY, bytes(16), bytes(12))
    assert OldSecrets(KEY).read({"api_key_enc": sealed}, "api_key") == "sk-of-mine"
    assert OldSecrets(None).read({"api_key_enc": "sk-plain", "api_key": None}, "api_key") == "sk-plain"
    assert OldSecrets(None).read({"api_key": "older", "api_key_enc": None}, "api_key") == "older"
    for key in (None, "another"):
        with pytest.raises(SecretUnreadable):
            OldSecrets(key).read({"api_key_enc": sealed}, "api_key")


def test_the_genuine_servers_own_seal_opens() -> None:
    rows = RowsFile("0.16.8").held["agent_environment_variables"]
    assert sorted({OldSecrets(KEY).read(row, "value") for row in rows if row["key"] == "WHISPER_END"}) == ["..."]
    assert OldSecrets(KEY).read(next(row for row in rows if row["key"] == "TOKEN"), "value").startswith("sk-")


@pytest.mark.parametrize("release", RELEASES)
def test_passages_keep_their_vectors(run: Run, release: str) -> None:
    """Goal: what was near stays near. Method: each stored vector against the one in the old database."""

    async def scenario() -> None:
        async with visit() as visitor:
            source = RowsFile(release)
            await move(visitor, source)
            for row in source.held["archival_passages"]:
                (passage,) = await visitor.node.house.archives.passages.get_many(row["archive_id"], [row["id"]])
                there = json.loads(row["embedding"])[:1_536]
                assert np.allclose(unpack_vector(passage.vector), there, atol=1e-6)
                assert (passage.text, list(passage.tags)) == (row["text"], row["tags"] or [])

    run(scenario())


def test_runs_and_steps_are_listed_as_before(run: Run) -> None:
    """Goal: what an agent did is still there; a run that hung there for ever has failed here."""

    async def scenario() -> None:
        async with visit() as visitor:
            source = RowsFile("0.16.8")
            report = await move(visitor, source)
            left = {id for each in report.kinds["runs"].left for id in each.named}
            moved = [row for row in source.held["runs"] if row["id"] not in left]
            assert moved
            for row in moved:
                shown = await visitor.ok("GET", f"/v1/runs/{row['id']}")
                expected = row["status"] if row["status"] in ("completed", "failed", "cancelled") else "failed"
                assert (shown["status"], shown["agent_id"]) == (expected, row["agent_id"])
                steps = await visitor.ok("GET", f"/v1/runs/{row['id']}/steps")
                assert {step["id"] for step in steps} == {
                    step["id"] for step in source.held["steps"] if step["run_id"] == row["id"]
                }
                for step in steps:
                    there = next(each for each in source.held["steps"] if each["id"] == step["id"])
                    assert (step["prompt_tokens"] or 0) == there["prompt_tokens"]
            assert len(await visitor.ok("GET", "/v1/runs/", query={"limit": 100})) == len(moved)

    run(scenario())


@pytest.mark.parametrize("release", RELEASES)
def test_folders_come_with_files_and_secrets_with_agents(run: Run, release: str) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            source = RowsFile(release)
            report = await move(visitor, source)
            house = visitor.node.house
            for row in source.held["file_contents"]:
                file = (await house.folders.files.get(row["file_id"])).value
                assert (await house.folders.text(file), file.status) == (row["text"], "completed")
            left = {id for each in report.kinds["agents"].left for id in each.named}
            for row in [row for row in source.held["agents"] if row["id"] not in left]:
                settings = await house.roster.get_settings(row["id"])
                opened = open_secrets(house.vault, settings.secrets)
                assert opened == {"WHISPER_END": "...", "TOKEN": f"sk-{row['name']}"}
                links = [link["source_id"] for link in source.held["sources_agents"] if link["agent_id"] == row["id"]]
                assert list(settings.folders) == links

    run(scenario())


@pytest.mark.parametrize("release", RELEASES)
def test_identities_have_their_agents_and_blocks(run: Run, release: str) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            source = RowsFile(release)
            report = await move(visitor, source)
            left = {id for each in report.kinds["agents"].left for id in each.named}
            for row in source.held["identities"]:
                shown = await visitor.ok("GET", f"/v1/identities/{row['id']}")
                assert (shown["identifier_key"], shown["name"]) == (row["identifier_key"], row["name"])
                assert shown["properties"] == row["properties"]
                for kind, gone in (("agent", left), ("block", set())):
                    links = source.held[f"identities_{kind}s"]
                    there = {link[f"{kind}_id"] for link in links if link["identity_id"] == row["id"]}
                    assert set(shown[f"{kind}_ids"]) == there - gone

    run(scenario())


def test_blocks_keep_what_they_said_before(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            source = RowsFile("0.16.8")
            await move(visitor, source)
            block_id = source.held["block_history"][0]["block_id"]
            now = next(row["value"] for row in source.held["block"] if row["id"] == block_id)
            rows = sorted(source.held["block_history"], key=lambda row: row["sequence_number"])
            kept = await list_versions(visitor.node.house.records, block_id)
            assert [one.value for one in reversed(kept)] == [row["value"] for row in rows if row["value"] != now] != []

    run(scenario())


@pytest.mark.parametrize("release", RELEASES)
def test_groups_have_their_agents_in_order(run: Run, release: str) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            source = RowsFile(release)
            report = await move(visitor, source)
            assert report.kinds["groups"].carried == len(source.held["groups"]) == 3
            for row in source.held["groups"]:
                shown = await visitor.ok("GET", f"/v1/groups/{row['id']}")
                names = (
                    "manager_type",
                    "description",
                    "agent_ids",
                    "manager_agent_id",
                    "termination_token",
                    "max_turns",
                )
                assert {name: shown[name] for name in names} == {name: row[name] for name in names}
                for agent_id in row["agent_ids"]:
                    listed = await visitor.ok("GET", f"/v1/agents/{agent_id}/groups")
                    assert row["id"] in [one["id"] for one in listed]

    run(scenario())


def test_a_group_comes_with_what_it_shares_and_was_told(run: Run) -> None:
    """Method: rows of a genuine database, the group made one of a helper, a member and a block of it gone."""

    async def scenario() -> None:
        async with visit() as visitor:
            source = RowsFile("0.16.8")
            group, other = [row for row in source.held["groups"] if row["manager_type"] != "round_robin"]
            manager = next(row for row in source.held["agents"] if row["id"] == group["manager_agent_id"])
            told = {"turns_counter": 3, "last_processed_message_id": manager["message_ids"][-1]}
            group.update(manager_type="sleeptime", sleeptime_agent_frequency=5, **told)
            group["agent_ids"] = [*group["agent_ids"], "agent-00000000-0000-4000-8000-000000000000"]
            other["manager_agent_id"] = group["agent_ids"][-1]
            block_id = source.held["block"][0]["id"]
            gone = "block-00000000-0000-4000-8000-000000000000"
            source.held["groups_blocks"] = [{"group_id": group["id"], "block_id": one} for one in (block_id, gone)]
            report = await move(visitor, source)
            assert report.sound
            shown = await visitor.ok("GET", f"/v1/groups/{group['id']}")
            assert {name: shown[name] for name in told} == told
            assert (shown["shared_block_ids"], shown["agent_ids"]) == ([block_id], group["agent_ids"][:-1])
            view = await visitor.node.house.groups.get(group["id"])
            assert view.state.told_seq == len(manager["message_ids"]) - 1
            reasons = {one.reason for one in report.kinds["groups"].without}
            assert reasons == {"an agent of it did not come along", "a block that it shares did not come along"}
            (left,) = report.kinds["groups"].left
            assert (left.reason, left.named) == ("the agent that manages it did not come along", (other["id"],))

    run(scenario())


@pytest.mark.parametrize("release", RELEASES)
def test_the_sandbox_has_its_variables(run: Run, release: str) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            source = RowsFile(release)
            await move(visitor, source)
            (config,) = await visitor.ok("GET", "/v1/sandbox-config/")
            (row,) = source.held["sandbox_configs"]
            assert (config["id"], config["config"]) == (row["id"], row["config"])
            (variable,) = await visitor.ok("GET", f"/v1/sandbox-config/{row['id']}/environment-variable")
            assert (variable["key"], variable["value"]) == ("EVERYWHERE", "seen by all tools")
            assert variable["description"] == "for all"

    run(scenario())


def test_a_sandbox_that_others_host_stays_there(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            source = RowsFile("0.16.8")
            source.held["sandbox_configs"][0].update(type="E2B", config={"timeout": 300, "pip_requirements": []})
            report = await move(visitor, source)
            for kind, reason in (
                ("sandbox configurations", "others host"),
                ("sandbox variables", "did not come along"),
            ):
                (left,) = report.kinds[kind].left
                assert reason in left.reason

    run(scenario())


@pytest.mark.parametrize("release", RELEASES)
def test_pictures_are_seen_again(run: Run, release: str) -> None:
    """Goal: a picture is what it was; one that is not in the database leaves a note, and the report says so."""

    async def scenario() -> None:
        for there in (True, False):
            async with visit() as visitor:
                source = RowsFile(release)
                pieces = [piece for row in source.held["messages"] for piece in row["content"] or ()]
                (picture,) = [piece for piece in pieces if piece["type"] == "image"]
                message = next(row for row in source.held["messages"] if picture in (row["content"] or ()))
                data = picture["source"]["data"]
                picture["source"]["data"] = data if there else None
                report = await move(visitor, source)
                shown = await visitor.ok("GET", f"/v1/agents/{message['agent_id']}/messages", query={"limit": 100})
                (content,) = [one["content"] for one in shown if one["id"] == message["id"]]
                if there:
                    assert content[1]["source"]["data"] == data
                else:
                    assert content[1]["text"] == "[image]"
                notes = [one for one in report.kinds["agents"].without if "picture" in one.reason]
                assert bool(notes) != there

    run(scenario())


def test_pictures_of_a_message_have_so_much_room() -> None:
    """Goal: what does not fit leaves a note, in what was said and in what a tool returned; the rest stays."""

    def picture(chars: int) -> Any:
        return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * chars}}

    returned = {"tool_call_id": "c", "func_response": [{"type": "text", "text": "two"}, picture(300_000), picture(4)]}
    row, reasons = with_notes({"content": [picture(200_000)], "tool_returns": [returned, {"func_response": "plain"}]})
    kinds = [piece["type"] for piece in row["tool_returns"][0]["func_response"]]
    assert (row["content"], kinds) == ([picture(200_000)], ["text", "text", "image"])
    assert row["tool_returns"][1] == {"func_response": "plain"}
    assert reasons == {"a picture, for those of one message may take 400000 bytes"}
    same = {"content": "words", "tool_returns": None}
    assert with_notes(same) == (same, set())
