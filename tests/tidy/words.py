"""Rules 2 and 4: the compatible API's name stays in its rooms; some names say that a thing has no name yet."""

import ast
import re
from collections.abc import Iterator, Sequence

from tests.tidy.house import FUNCTION, Allowed, Source, listed

VAGUE = frozenset(
    "manager managers util utils helper helpers common misc base impl v2 legacy".split()
)  # plurals are no better
PRODUCT = re.compile("letta", re.IGNORECASE)
ITS_ROOM = re.compile(r"\bapi[./]letta\b|\bwire[./]letta\b|\bimporting[./]letta\b")
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*|[a-z0-9]+")


def check_product_name(sources: Sequence[Source], allowed: Allowed) -> list[str]:
    """The word outside its rooms; naming the room itself (`api.letta`) is how others reach it."""
    return [
        f"{source.path}:{number}: '{PRODUCT.pattern}' is named only in its rooms"
        for source in sources
        if not listed(source.path, allowed.product_name)
        for number, line in enumerate(source.text.splitlines(), 1)
        if PRODUCT.search(ITS_ROOM.sub("", line))
    ]


def check_names(sources: Sequence[Source], allowed: Allowed) -> list[str]:
    """Files, classes and functions whose name has a vague word in it."""
    return [
        f"{source.path}: '{name}' needs a name from the domain, without '{word}'"
        for source in sources
        if not listed(source.path, allowed.names)
        for name in names(source)
        for word in words(name)
        if word in VAGUE
    ]


def names(source: Source) -> Iterator[str]:
    """The file's own name, then those of its classes and functions."""
    yield source.path.rpartition("/")[2].removesuffix(".py")
    for node in ast.walk(source.tree):
        if isinstance(node, FUNCTION | ast.ClassDef):
            yield node.name


def words(name: str) -> list[str]:
    """`HTTPBaseThing` and `http_base_thing` both have three words."""
    return [word.lower() for word in WORD.findall(name)]
