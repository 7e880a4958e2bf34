"""How lists are asked for: `limit`, `order`, and `before` and `after`, ids in the order asked for.

A limit over PAGE_ROWS_MAX is refused, not lowered: whoever gets fewer rows than asked for takes them for all.
"""

from typing import Annotated, Literal

from msgspec import Meta

from kelpie.api.errors import Malformed
from kelpie.errors import InvalidInput
from kelpie.ids import parse_id
from kelpie.limits import PAGE_ROWS_MAX
from kelpie.storage.paging import Page

PageLimit = Annotated[int, Meta(ge=1, le=PAGE_ROWS_MAX)]
Order = Literal["asc", "desc"]


def read_cursor(kind: str, text: str | None, field: str) -> str | None:
    """An id that a list begins or ends at; Malformed unless it has the form of one."""
    if text is None or text == "":
        return None
    try:
        return parse_id(kind, text)
    except InvalidInput as error:
        raise Malformed(error.sentence, place=("query", field), kind="string_pattern_mismatch") from None


def read_page(
    kind: str, *, before: str | None, after: str | None, limit: int | None, order: Order, limit_default: int
) -> Page:
    """The page that was asked for."""
    return Page(
        before=read_cursor(kind, before, "before"),
        after=read_cursor(kind, after, "after"),
        limit=limit_default if limit is None else limit,
        newest_first=order == "desc",
    )
