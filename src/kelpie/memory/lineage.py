"""Of what a record was made, and to which project it belongs: names that other programs give, kept and looked for."""

import msgspec
from msgspec import Struct

from kelpie.errors import LimitExceeded
from kelpie.limits import LINEAGE_CHARS_MAX


class Lineage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The project, the template and its version, the deployment, and which entity of the template it is."""

    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None
    entity_id: str | None = None
    preserved: bool = False  # a newer version of the template leaves it as it is


NOWHERE = Lineage()
LINEAGE_IDS = ("project_id", "template_id", "base_template_id", "deployment_id", "entity_id")


def merge_lineage(now: Lineage, said: Lineage) -> Lineage:
    """What is said, and of what is not, what holds now."""
    given = {field: getattr(said, field) for field in LINEAGE_IDS if getattr(said, field) is not None}
    return msgspec.structs.replace(now, **given, preserved=said.preserved)


def check_lineage(lineage: Lineage) -> None:
    """LimitExceeded if one of the names is longer than LINEAGE_CHARS_MAX."""
    for field in LINEAGE_IDS:
        size = len(getattr(lineage, field) or "")
        if size > LINEAGE_CHARS_MAX:
            raise LimitExceeded(
                f"{field}: {size} characters are over the limit of {LINEAGE_CHARS_MAX}",
                field=field,
                limit="LINEAGE_CHARS_MAX",
                maximum=LINEAGE_CHARS_MAX,
            )
