"""How far a move has come, kind by kind: written by the same commits as what was moved."""

import hashlib
from typing import Any

import msgspec
from msgspec import Struct

from kelpie.storage.records import Ref, Space

NAMED_MAX = 20  # ids that are named for one reason; the others are counted
_SUM_MODULUS = 2**128


class Left(Struct, frozen=True, kw_only=True):
    """Rows that do not come along, for one reason."""

    reason: str
    count: int
    named: tuple[str, ...]


class Progress(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """One kind of one source. `read` is carried, present and left together.

    `sum` adds up the digests of the records that were carried, so that it does not depend on their order; `stored` does
    the same for what the store gives back after the commits. What the last row became is not yet in it if `unread`.
    """

    last: str = ""  # the id of the last row that was dealt with
    read: int = 0
    carried: int = 0
    present: int = 0  # there already, and left as it is
    parts: dict[str, int] = {}  # what came along inside of them, e.g. messages
    left: tuple[Left, ...] = ()
    without: tuple[Left, ...] = ()  # came along, but not with all that they had
    sum: str = "0"
    stored: str = "0"
    unread: bool = False
    done: bool = False


MOVES = Space("move", Progress, large=True)  # at(source, kind)


def name_one(named: tuple[Left, ...], reason: str, id: str) -> tuple[Left, ...]:
    """With one more row for that reason."""
    by_reason = {each.reason: each for each in named}
    before = by_reason.get(reason, Left(reason=reason, count=0, named=()))
    ids = before.named if len(before.named) >= NAMED_MAX else (*before.named, id)
    by_reason[reason] = Left(reason=reason, count=before.count + 1, named=ids)
    return tuple(by_reason.values())


def digest(ref: Ref[Any], record: Struct) -> int:
    """A number for a record at its place."""
    raw = ref.key + b"\0" + msgspec.json.encode(record)
    return int.from_bytes(hashlib.sha256(raw).digest()[:16])


def add(sum: str, number: int) -> str:
    """The sum with one more digest, or one more sum of digests."""
    return f"{(int(sum, 16) + number) % _SUM_MODULUS:032x}"
