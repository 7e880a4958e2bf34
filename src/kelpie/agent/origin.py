"""What an agent file said that this server has no words for, kept so that it can be said again.

A file made elsewhere names more than is kept here, or says it in another way. Beside each thing that was made from it
stands its `Origin`: the fields that the file had otherwise than this server would write them just after. On the way out
a field that is still as it was then is written as the file had it; one that has changed since is written as it is now.
"""

from msgspec import Raw, Struct

from kelpie.storage.records import Space

NOT_GIVEN = Raw(b"null")


class Given(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A field as the file had it, and a digest of how this server would have written it."""

    value: Raw = NOT_GIVEN
    absent: bool = False  # the file had no such field
    ours: str


class Origin(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """The fields of one thing that the file had otherwise."""

    fields: dict[str, Given]


ORIGINS = Space("origin", Origin, large=True)  # at(agent_id, id of the agent, message, block, tool ...)
