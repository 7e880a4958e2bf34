"""Patches of one text, as models write them: lines to keep, to take out and to put in. Pure.

A line begins with a blank (it stays), `-` (it goes) or `+` (it comes); `@@` begins another place. Line numbers are not
needed and not believed: a place is found by its lines, which must stand in the text exactly once.
"""

from msgspec import Struct

MARKS = ("***", "---", "+++", "\\ No newline")  # around a patch, and no part of it


class Unfit(ValueError):
    """The patch does not fit the text, for a reason that the model can act upon."""


class _Hunk(Struct, frozen=True):
    """What is looked for, and what takes its place."""

    before: tuple[str, ...]
    after: tuple[str, ...]


def apply_patch(text: str, patch: str) -> str:
    """The text after the patch. Raises Unfit."""
    hunks = _read(patch)
    if not hunks:
        raise Unfit("The patch changes nothing: it has no line that begins with - or +.")
    lines = text.split("\n") if text else []
    assert all(hunk.before != hunk.after for hunk in hunks)
    for number, hunk in enumerate(hunks, 1):
        places = _places(lines, hunk.before)
        if not hunk.before:
            places = [len(lines)]
        if len(places) != 1:
            found = "do not stand in the text" if not places else f"stand in the text {len(places)} times"
            raise Unfit(f"The lines that part {number} of the patch keeps or takes out {found}. Copy them exactly, and"
                        " add lines around them until they are unique.")  # fmt: skip
        at = places[0]
        lines[at : at + len(hunk.before)] = hunk.after
    assert all("\n" not in line for line in lines)
    return "\n".join(lines)


def _read(patch: str) -> list[_Hunk]:
    """The places of a patch. Raises Unfit for a line that begins with none of the marks."""
    hunks: list[_Hunk] = []
    before: list[str] = []
    after: list[str] = []
    for line in [*patch.strip("\n").split("\n"), "@@"]:
        if line.startswith("@@"):
            if before != after:
                hunks.append(_Hunk(tuple(before), tuple(after)))
            before, after = [], []
        elif line.startswith(MARKS):
            continue
        elif line[:1] not in (" ", "-", "+", ""):
            raise Unfit(f"The line '{line[:80]}' of the patch begins with neither a blank nor - nor +.")
        else:
            if line[:1] != "+":
                before.append(line[1:])
            if line[:1] != "-":
                after.append(line[1:])
    assert not before
    assert not after
    return hunks


def _places(lines: list[str], wanted: tuple[str, ...]) -> list[int]:
    return [at for at in range(len(lines) - len(wanted) + 1) if tuple(lines[at : at + len(wanted)]) == wanted]
