"""What a block said before: the last BLOCK_VERSIONS_MAX values, each kept by the commit that replaced it.

A block counts the changes of its value; the number is the key here. So the oldest value goes by the same commit that
adds the newest, and nothing has to be counted or swept.
"""

from msgspec import Struct

from kelpie.ids import BlockId
from kelpie.limits import BLOCK_VERSIONS_MAX
from kelpie.storage.records import Batch, Records, Space


class BlockVersion(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """A value that was replaced, when, and by which agent; no agent: by a person."""

    revision: int
    value: str
    replaced_at_us: int
    replaced_by: str | None = None


BLOCK_VERSIONS = Space("block_version", BlockVersion, large=True)  # at(block_id, revision)


def put_version(
    batch: Batch, block_id: BlockId, revision: int, value: str, replaced_at_us: int, replaced_by: str | None
) -> None:
    """Keep the value of that revision, and let the oldest one go."""
    assert revision >= 0
    kept = BlockVersion(revision=revision, value=value, replaced_at_us=replaced_at_us, replaced_by=replaced_by)
    batch.put(BLOCK_VERSIONS.at(block_id, revision), kept)
    if revision >= BLOCK_VERSIONS_MAX:
        batch.delete(BLOCK_VERSIONS.at(block_id, revision - BLOCK_VERSIONS_MAX))


async def list_versions(records: Records, block_id: BlockId) -> list[BlockVersion]:
    """The values that are kept, the newest first."""
    found = await records.scan(BLOCK_VERSIONS, block_id, limit=BLOCK_VERSIONS_MAX + 1, reverse=True)
    return [each.value for each in found]
