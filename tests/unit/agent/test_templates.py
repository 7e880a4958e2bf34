"""Templates: versions keep what was saved in them, and what no version has and nobody works on is gone."""

import msgspec
import pytest
from msgspec import Raw

from kelpie.agent import templates
from kelpie.agent.templates import STATES, Templates, split_version
from kelpie.errors import AlreadyExists, InvalidInput, LimitExceeded, NotFound
from kelpie.storage.records import Records
from kelpie.system import system_world
from tests.unit.agent.test_roster import Desk


async def rows(records: Records, template_id: str) -> list[str]:
    return [found.last_part for found in await records.scan(STATES, template_id, limit=100)]


async def texts(all: Templates, *versions: str) -> list[str]:
    return [msgspec.json.decode(bytes((await all.read("t", version)).content)) for version in versions]


def test_versions_and_the_working_state(run) -> None:
    """Two changes without saving leave one row for both; rolling back saves first, and only what is not saved."""

    async def play() -> None:
        records = Desk().records
        all = Templates(records, system_world())
        made = await all.create("t", Raw(b'"one"'))
        for text in (b'"two"', b'"three"'):
            await all.update("t", Raw(text), save_first=False)
        assert len(await rows(records, made.id)) == 2, "'two' was never saved"
        assert len((await all.roll_back("t", "latest")).versions) == 2
        assert len((await all.roll_back("t", "2")).versions) == 2, "the working state was version 1"
        assert await texts(all, "1", "2", "latest", "current", "dev") == ["one", "three", "three", "three", "three"]
        for unknown in ("0", "3", "9" * 5000):
            with pytest.raises(NotFound):
                await all.read("t", unknown)
        with pytest.raises(InvalidInput):
            await all.read("t", "²")
        await all.delete("t")
        assert await rows(records, made.id) == []

    run(play())


def test_names_and_bounds(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name belongs to one template; there are only so many versions; a refused change changes nothing."""
    monkeypatch.setattr(templates, "TEMPLATE_VERSIONS_MAX", 2)

    async def play() -> None:
        all = Templates(Desk().records, system_world())
        await all.create("t", Raw(b'"one"'))
        with pytest.raises(AlreadyExists):
            await all.create("t", Raw(b'"one"'))
        await all.save("t", "second")
        before = await all.update("t", Raw(b'"two"'), save_first=False)
        for refused in (all.save("t", None), all.roll_back("t", "1"), all.update("t", Raw(b"3"), save_first=True)):
            with pytest.raises(LimitExceeded):
                await refused
        assert await all.get("t") == before

    run(play())


@pytest.mark.parametrize(
    ("text", "parts"),
    [("p/n:3", ("n", "3")), ("n:current", ("n", "current")), ("n", ("n", "latest")), ("p/n", ("n", "latest"))],
)
def test_a_version_is_named_with_or_without_project_and_number(text: str, parts: tuple[str, str]) -> None:
    assert split_version(text) == parts
