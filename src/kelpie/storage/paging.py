"""Which page of a list is wanted."""

from msgspec import Struct


class Page(Struct, frozen=True, kw_only=True):
    """Where a page lies: `before` and `after` are ids in the order asked for."""

    before: str | None = None
    after: str | None = None
    limit: int
    newest_first: bool = True


def rows_to_read(limit: int, scanned: int, most: int) -> int:
    """How many rows to read next for a page of `limit`: at first that many, as hardly any list leaves rows out."""
    assert limit > 0 and scanned >= 0
    return most if scanned else min(limit, most)
