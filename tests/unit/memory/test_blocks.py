"""Blocks: what may be stored, edits against other edits, lists and their cursors, links against renames."""

import pytest
from msgspec import Raw

from kelpie.errors import Conflict, InvalidInput, KelpieError, LimitExceeded, NotFound
from kelpie.ids import AgentId, BlockId
from kelpie.limits import (
    BLOCK_CHARS_DEFAULT,
    BLOCK_CHARS_MAX,
    BLOCK_LABEL_CHARS_MAX,
    BLOCK_TAGS_MAX,
    EDIT_ATTEMPTS_MAX,
    METADATA_BYTES_MAX,
    TAG_CHARS_MAX,
    TEXT_FIELD_CHARS_MAX,
)
from kelpie.memory import blocks as blocks_module
from kelpie.memory.blocks import (
    BLOCKS,
    BlockChanges,
    BlockFilter,
    BlockPage,
    attach,
    change_block,
    link,
    put_changed,
    put_new,
    remove,
    unlink,
)
from kelpie.storage.records import Batch
from tests.unit.memory.build import AGENT, START_US, Interrupted, a_block, a_store, some_blocks

NOBODY = BlockId("block-00000000-0000-4000-8000-000000000000")
OTHER = AgentId("agent-00000000-0000-4000-8000-000000000002")


def test_created_block_is_read_back_whole(run):
    """What create answers is what is stored, with the defaults of the wire."""

    async def check() -> None:
        blocks, _, _ = some_blocks()
        made = await blocks.store(
            blocks.build(label="human", value="Ada", description="who", metadata=Raw(b'{"a":1}'), tags=("t",))
        )
        assert made.limit_chars == BLOCK_CHARS_DEFAULT
        assert (made.created_at_us, made.updated_at_us) == (START_US, START_US)
        assert (await blocks.get(made.id)).value == made
        found = await blocks.get_many([NOBODY, made.id])
        assert [one and one.value for one in found] == [None, made]
        with pytest.raises(NotFound) as missing:
            await blocks.get(NOBODY)
        assert missing.value.fields == {"block_id": NOBODY}

    run(check())


REFUSED: list[tuple[dict[str, object], type[KelpieError], dict[str, object]]] = [
    ({"label": ""}, InvalidInput, {"field": "label"}),
    ({"label": " x"}, InvalidInput, {"field": "label"}),
    ({"label": "a\nb"}, InvalidInput, {"field": "label"}),
    (
        {"label": "x" * (BLOCK_LABEL_CHARS_MAX + 1)},
        LimitExceeded,
        {"field": "label", "limit": "BLOCK_LABEL_CHARS_MAX", "maximum": BLOCK_LABEL_CHARS_MAX},
    ),
    (
        {"value": "x" * (BLOCK_CHARS_MAX + 1)},
        LimitExceeded,
        {"field": "value", "limit": "BLOCK_CHARS_MAX", "maximum": BLOCK_CHARS_MAX},
    ),
    (
        {"value": "\0" * BLOCK_CHARS_MAX},
        LimitExceeded,
        {"field": "value", "limit": "BLOCK_BYTES_MAX", "maximum": 800_000},
    ),
    ({"value": "four", "limit_chars": 3}, LimitExceeded, {"field": "value", "limit": "limit", "maximum": 3}),
    ({"limit_chars": 0}, InvalidInput, {"field": "limit"}),
    (
        {"limit_chars": BLOCK_CHARS_MAX + 1},
        LimitExceeded,
        {"field": "limit", "limit": "BLOCK_CHARS_MAX", "maximum": BLOCK_CHARS_MAX},
    ),
    (
        {"description": "x" * (TEXT_FIELD_CHARS_MAX + 1)},
        LimitExceeded,
        {"field": "description", "limit": "TEXT_FIELD_CHARS_MAX", "maximum": TEXT_FIELD_CHARS_MAX},
    ),
    (
        {"tags": ("t",) * (BLOCK_TAGS_MAX + 1)},
        LimitExceeded,
        {"field": "tags", "limit": "BLOCK_TAGS_MAX", "maximum": BLOCK_TAGS_MAX},
    ),
    (
        {"tags": ("t" * (TAG_CHARS_MAX + 1),)},
        LimitExceeded,
        {"field": "tags", "limit": "TAG_CHARS_MAX", "maximum": TAG_CHARS_MAX},
    ),
    ({"metadata": Raw(b"[1]")}, InvalidInput, {"field": "metadata"}),
    ({"metadata": Raw(b"{")}, InvalidInput, {"field": "metadata"}),
    (
        {"metadata": Raw(b'{"a":"%s"}' % (b"x" * METADATA_BYTES_MAX))},
        LimitExceeded,
        {"field": "metadata", "limit": "METADATA_BYTES_MAX", "maximum": METADATA_BYTES_MAX},
    ),
]


@pytest.mark.parametrize(("fields", "error", "named"), REFUSED)
def test_bad_block_is_refused_with_the_field_or_limit_named(fields, error, named):
    """Every field has a bound, and the refusal says which."""
    with pytest.raises(error) as refused:
        a_block(**{"label": "human", "value": "v", **fields})
    assert type(refused.value) is error
    assert refused.value.fields == named


def test_largest_block_is_stored(run):
    """A block full of the characters that take most bytes without escapes fits into a record."""

    async def check() -> None:
        blocks, _, _ = some_blocks()
        made = await blocks.store(
            blocks.build(label="full", value="\U0001f40b" * BLOCK_CHARS_MAX, limit_chars=BLOCK_CHARS_MAX)
        )
        assert (await blocks.get(made.id)).value == made

    run(check())


def test_person_may_exceed_a_limit_but_not_contradict_herself():
    """A value over the block's limit is accepted, unless the same request sets that limit."""
    block = a_block(limit_chars=3, value="abc")
    over = change_block(block, BlockChanges(value="abcde"), START_US)
    assert (over.value, over.limit_chars) == ("abcde", 3)
    assert change_block(over, BlockChanges(limit_chars=2), START_US).limit_chars == 2
    with pytest.raises(LimitExceeded) as refused:
        change_block(block, BlockChanges(value="abcde", limit_chars=4), START_US)
    assert refused.value.fields == {"field": "value", "limit": "limit", "maximum": 4}


def test_update_changes_what_is_named_and_nothing_else(run):
    """UNSET fields stay; None is a value; the time moves."""

    async def check() -> None:
        blocks, _, clock = some_blocks()
        made = await blocks.store(blocks.build(label="human", value="a", description="d", tags=("t",), read_only=True))
        clock.us += 5
        changed = await blocks.update(made.id, BlockChanges(value="b", description=None, read_only=False))
        expected = a_block(value="b", tags=("t",))
        assert changed == (await blocks.get(made.id)).value
        assert (changed.value, changed.description, changed.read_only, changed.tags) == ("b", None, False, ("t",))
        assert (changed.updated_at_us, changed.created_at_us) == (START_US + 5, START_US)
        assert expected.limit_chars == changed.limit_chars
        with pytest.raises(NotFound):
            await blocks.update(NOBODY, BlockChanges(value="b"))

    run(check())


@pytest.mark.parametrize("others", [1, EDIT_ATTEMPTS_MAX - 1, EDIT_ATTEMPTS_MAX])
def test_update_is_tried_again_after_other_edits_but_not_without_end(run, others):
    """As many other edits as attempts: Conflict. One fewer: applied on top of them."""

    async def check() -> None:
        store = a_store()
        writer, _, _ = some_blocks(store)
        block = await writer.store(writer.build(label="human", value="0"))

        async def meanwhile(attempt: int) -> None:
            if attempt <= others:
                await writer.update(block.id, BlockChanges(description=f"edit {attempt}"))

        interrupted = Interrupted(store, meanwhile)
        slow, _, _ = some_blocks(interrupted)  # type: ignore[arg-type]
        if others == EDIT_ATTEMPTS_MAX:
            with pytest.raises(Conflict):
                await slow.update(block.id, BlockChanges(value="mine"))
            assert (await writer.get(block.id)).value.value == "0"
        else:
            changed = await slow.update(block.id, BlockChanges(value="mine"))
            assert (changed.value, changed.description) == ("mine", f"edit {others}")
        assert interrupted.commits == min(others + 1, EDIT_ATTEMPTS_MAX)

    run(check())


async def _five(blocks, clock):
    """Five blocks; the second and third, and the fourth and fifth, in the same microsecond."""
    made = []
    for number, step in enumerate((0, 1, 0, 1, 0)):
        clock.us += step
        tags = ("even",) if number % 2 == 0 else ("odd", "any")
        made.append(await blocks.store(blocks.build(label=f"l{number % 2}", value=f"Value {number}", tags=tags)))
    return sorted(made, key=lambda block: (block.created_at_us, block.id))


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
def test_pages_cover_every_block_once_in_order(run, newest_first, limit):
    """Following `after` to the end gives all blocks, also those of one microsecond; `before` goes back."""

    async def check() -> None:
        blocks, _, clock = some_blocks()
        expected = await _five(blocks, clock)
        expected = expected[::-1] if newest_first else expected
        seen, after = [], None
        for _ in range(7):
            page = await blocks.list(after=after, limit=limit, newest_first=newest_first)
            assert page.scanned_to is None
            if not page.blocks:
                break
            seen.extend(page.blocks)
            after = page.blocks[-1].id
        assert seen == expected
        before = await blocks.list(before=expected[3].id, limit=5, newest_first=newest_first)
        assert list(before.blocks) == expected[:3]
        between = await blocks.list(after=expected[0].id, before=expected[3].id, limit=limit, newest_first=newest_first)
        assert list(between.blocks) == expected[1:3][:limit]
        crossed = await blocks.list(after=expected[3].id, before=expected[1].id, limit=5, newest_first=newest_first)
        assert crossed == BlockPage(blocks=())
        with pytest.raises(NotFound):
            await blocks.list(after=NOBODY, limit=1)

    run(check())


FILTERS = [
    (BlockFilter(label="l0"), [0, 2, 4]),
    (BlockFilter(tags=("even", "nothing")), [0, 2, 4]),
    (BlockFilter(tags=("odd", "any"), all_tags=True), [1, 3]),
    (BlockFilter(tags=("even", "any"), all_tags=True), []),
    (BlockFilter(value_search="VALUE 3"), [3]),
    (BlockFilter(label_search="L1"), [1, 3]),
    (BlockFilter(description_search="x"), []),
    (BlockFilter(templates_only=True), []),
    (BlockFilter(name="n"), []),
    (BlockFilter(), [0, 1, 2, 3, 4]),
]


@pytest.mark.parametrize(("wanted", "numbers"), FILTERS)
def test_filters_select_for_list_and_count_alike(run, wanted, numbers, monkeypatch):
    """A filter gives the same blocks whether they are listed or counted, over several reads of two."""
    monkeypatch.setattr(blocks_module, "BLOCKS_READ_AT_ONCE", 2)

    async def check() -> None:
        blocks, _, clock = some_blocks()
        await _five(blocks, clock)
        page = await blocks.list(wanted, limit=10)
        assert sorted(int(block.value[-1]) for block in page.blocks) == numbers
        assert await blocks.count(wanted) == len(numbers)

    run(check())


def test_scan_that_ends_at_its_bound_says_so(run, monkeypatch):
    """A list tells how far it looked, and goes on from there; a count is refused."""
    monkeypatch.setattr(blocks_module, "BLOCKS_READ_AT_ONCE", 2)
    monkeypatch.setattr(blocks_module, "BLOCKS_SCANNED_MAX", 2)

    async def check() -> None:
        blocks, _, clock = some_blocks()
        made = await _five(blocks, clock)
        wanted = BlockFilter(value_search=made[4].value)
        first = await blocks.list(wanted, limit=1)
        assert first == BlockPage(blocks=(), scanned_to=made[1].id)
        second = await blocks.list(wanted, limit=1, after=first.scanned_to)
        assert second == BlockPage(blocks=(), scanned_to=made[3].id)
        assert await blocks.list(wanted, limit=1, after=second.scanned_to) == BlockPage(blocks=(made[4],))
        with pytest.raises(LimitExceeded) as refused:
            await blocks.count(wanted)
        assert refused.value.fields == {"limit": "BLOCKS_SCANNED_MAX", "maximum": 2}

    run(check())


def test_links_say_which_agents_have_a_block(run):
    """Link, attach and unlink; pages by agent id."""

    async def check() -> None:
        blocks, records, _ = some_blocks()
        block = blocks.build(label="human", value="v")
        batch = Batch()
        put_new(batch, block)
        link(batch, block.id, AGENT)
        await records.commit(batch)
        batch = Batch()
        attach(batch, await blocks.get(block.id), OTHER)
        await records.commit(batch)
        assert await blocks.agents_of(block.id) == [AGENT, OTHER]
        assert await blocks.agents_of(block.id, after=AGENT, limit=1) == [OTHER]
        batch = Batch()
        unlink(batch, block.id, AGENT)
        await records.commit(batch)
        assert await blocks.agents_of(block.id) == [OTHER]

    run(check())


def test_new_label_is_for_blocks_that_nobody_has(run):
    """Unattached: renamed. Attached, or attached while it is renamed: Conflict, and the label stays."""

    async def check() -> None:
        store = a_store()
        blocks, records, _ = some_blocks(store)
        block = await blocks.store(blocks.build(label="old", value="v"))
        assert (await blocks.update(block.id, BlockChanges(label="new"))).label == "new"

        async def meanwhile(attempt: int) -> None:
            if attempt == 1:
                batch = Batch()
                attach(batch, await blocks.get(block.id), AGENT)
                await records.commit(batch)

        slow, _, _ = some_blocks(Interrupted(store, meanwhile))  # type: ignore[arg-type]
        with pytest.raises(Conflict):
            await slow.update(block.id, BlockChanges(label="newer"))
        assert (await blocks.get(block.id)).value.label == "new"
        assert (await blocks.update(block.id, BlockChanges(label="new", value="w"))).value == "w"

    run(check())


def test_attach_and_removal_exclude_each_other(run):
    """Whichever commits first, the other conflicts: no agent keeps a block that is gone."""

    async def check(remove_first: bool) -> None:
        blocks, records, _ = some_blocks()
        block = await blocks.store(blocks.build(label="human", value="v"))
        found = await blocks.get(block.id)
        removal, attachment = Batch(), Batch()
        remove(removal, found)
        attach(attachment, found, AGENT)
        first, second = (removal, attachment) if remove_first else (attachment, removal)
        await records.commit(first)
        with pytest.raises(Conflict):
            await records.commit(second)

    run(check(True))
    run(check(False))


def test_removed_block_leaves_nothing(run):
    """Block, links and place in time go together, and an edit of it conflicts."""

    async def check() -> None:
        blocks, records, _ = some_blocks()
        block = await blocks.store(blocks.build(label="human", value="x" * 100_000))
        found = await blocks.get(block.id)
        batch = Batch()
        link(batch, block.id, AGENT)
        await records.commit(batch)
        batch = Batch()
        remove(batch, found)
        await records.commit(batch)
        assert await records.store.scan(b"a", b"~", limit=10) == []
        late = Batch()
        put_changed(late, found, found.value)
        with pytest.raises(Conflict):
            await records.commit(late)
        assert await records.get(BLOCKS.at(block.id)) is None
        assert await blocks.count() == 0

    run(check())
