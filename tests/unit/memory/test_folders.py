"""Folders and files as records: chunks lose nothing, names are unique in a folder, what is hidden is gone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelpie.actor.recovery import read_unfinished
from kelpie.errors import AlreadyExists, InvalidInput, NotFound
from kelpie.limits import FILE_PIECE_BYTES, FILE_PIECES_PER_COMMIT
from kelpie.memory.folders import RAW_PIECES, File, FolderChanges, Folders, check_file_name, chunk_lines
from kelpie.storage.checked import CheckedStore
from kelpie.storage.memory import MemoryStore
from kelpie.storage.paging import Page
from kelpie.storage.records import Records
from kelpie.system import system_world

WORLD = system_world()


def a_room() -> tuple[Records, Folders]:
    records = Records(CheckedStore(MemoryStore(WORLD)))
    return records, Folders(records, WORLD)


@given(st.text(alphabet="ab\n", max_size=200), st.integers(1, 20))
def test_chunks_joined_are_the_text_and_none_is_too_long(text: str, most: int) -> None:
    chunks = chunk_lines(text, most)
    assert "".join(chunks) == text
    assert all(0 < len(chunk) <= most for chunk in chunks)


def test_chunks_end_at_line_ends_where_they_can() -> None:
    assert chunk_lines("one\ntwo\nthree and more\nx", 8) == ["one\ntwo\n", "three an", "d more\nx"]


def test_a_file_is_stored_with_its_bytes_and_marked_as_unfinished(run) -> None:
    """Also one of more pieces than one commit takes."""

    async def play() -> None:
        records, folders = a_room()
        folder = await folders.create("f", "kelpie/x", 300, FolderChanges())
        content = bytes(FILE_PIECE_BYTES) * FILE_PIECES_PER_COMMIT + b"end"
        file = await folders.store(folder, "a.txt", "A.txt", "text/plain", content)
        assert await folders.raw(file) == content
        assert await read_unfinished(records, None) == [file.id]
        assert await folders.named(folder.id, "a.txt") == file
        with pytest.raises(AlreadyExists):
            await folders.store(folder, "a.txt", "a.txt", "text/plain", b"x")
        left = await records.scan(RAW_PIECES, limit=100)
        assert len(left) == FILE_PIECES_PER_COMMIT + 1, "nothing stays of a file that was refused"

    run(play())


def test_a_hidden_file_is_gone_and_its_name_free(run) -> None:
    async def play() -> None:
        _, folders = a_room()
        folder = await folders.create("f", "kelpie/x", 300, FolderChanges())
        file = await folders.store(folder, "a", "a", "text/plain", b"x")
        await folders.hide(file.id)
        await folders.hide(file.id)  # twice is once
        assert (await folders.page(folder.id, Page(limit=9)), await folders.named(folder.id, "a")) == ([], None)
        with pytest.raises(NotFound):
            await folders.file(folder.id, file.id)
        await folders.store(folder, "a", "a", "text/plain", b"y")

    run(play())


def test_pages_of_a_folder_are_its_own(run) -> None:
    async def play() -> None:
        _, folders = a_room()
        ours = await folders.create("ours", "kelpie/x", 300, FolderChanges())
        other = await folders.create("other", "kelpie/x", 300, FolderChanges())
        files: list[File] = []
        for number in range(5):
            files.append(await folders.store(ours, f"{number}", "n", "text/plain", b"x"))
            await folders.store(other, f"{number}", "n", "text/plain", b"x")
        first = await folders.page(ours.id, Page(limit=3, newest_first=False))
        rest = await folders.page(ours.id, Page(limit=3, newest_first=False, after=first[-1].id))
        assert [*first, *rest] == files
        assert await folders.page(ours.id, Page(limit=9)) == files[::-1]
        await folders.delete(ours.id)
        assert len(await folders.page(other.id, Page(limit=9))) == 5
        with pytest.raises(NotFound):
            await folders.all.get(ours.id)

    run(play())


@pytest.mark.parametrize("name", ["", " ", "a/b", "..", "a\nb", "a\0b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_file_name(name)
