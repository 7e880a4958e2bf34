"""Tags on the wire: those of all agents and blocks, as one sorted list."""

from typing import Literal

from msgspec import Struct

from kelpie.api.letta.house import House
from kelpie.api.letta.paging import Order, PageLimit
from kelpie.api.route import Ask, Route
from kelpie.errors import LimitExceeded
from kelpie.ids import BlockId
from kelpie.limits import BLOCKS_SCANNED_MAX, PAGE_ROWS_MAX

LIMIT_DEFAULT = 50


class ListTags(Struct, frozen=True, kw_only=True):
    """Which tags, and which page of them; a cursor is a tag, whether it is still there or not."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "asc"
    order_by: Literal["name"] = "name"
    query_text: str | None = None
    name: str | None = None


async def list_tags(house: House, ask: Ask[ListTags, None]) -> list[str]:
    """A page of the tags."""
    query = ask.query
    text = (query.name or query.query_text or "").casefold()
    tags = sorted({*await house.listing.tags(), *await _block_tags(house)}, reverse=query.order == "desc")
    sign = -1 if query.order == "desc" else 1
    wanted = [
        tag
        for tag in tags
        if text in tag.casefold()
        and (query.after is None or _compared(tag, query.after) * sign > 0)
        and (query.before is None or _compared(tag, query.before) * sign < 0)
    ]
    return wanted[: query.limit or LIMIT_DEFAULT]


async def _block_tags(house: House) -> set[str]:
    """The tags of all blocks. LimitExceeded when there are more than BLOCKS_SCANNED_MAX blocks."""
    tags: set[str] = set()
    after: BlockId | None = None
    for _ in range(BLOCKS_SCANNED_MAX // PAGE_ROWS_MAX):
        page = (await house.blocks.list(after=after, limit=PAGE_ROWS_MAX)).blocks
        tags.update(tag for block in page for tag in block.tags)
        if len(page) < PAGE_ROWS_MAX:
            return tags
        after = page[-1].id
    raise LimitExceeded(
        f"there are more than {BLOCKS_SCANNED_MAX} blocks to collect tags from",
        limit="BLOCKS_SCANNED_MAX",
        maximum=BLOCKS_SCANNED_MAX,
    )


def _compared(one: str, other: str) -> int:
    return (one > other) - (one < other)


ROUTES = (
    Route(
        method="GET",
        path="/v1/tags/",
        name="list_tags",
        summary="List the tags of all agents and blocks",
        tag="tags",
        handler=list_tags,
        query=ListTags,
        answer=list[str],
    ),
)
