"""Which page of a list is wanted."""

from msgspec import Struct


class Page(Struct, frozen=True, kw_only=True):
    """Where a page lies: `before` and `after` are ids in the order asked for."""

    before: str | None = None
    after: str | None = None
    limit: int
    newest_first: bool = True
