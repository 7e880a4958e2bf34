"""Where the commands live that are imported by name: a command pays only for what it needs.

`serve` must be listening in less than a second, so it does without what the commands for people bring along; and
the house does not know its simulator, which comes in the same package and imports the house.
"""

import importlib
from collections.abc import Sequence

ROOMS = {"serve": "kelpie.cli.serve", "sim": "kelpie_sim.cli", "import": "kelpie.importing.letta.command"}
ROOM_FOR_PEOPLE = "kelpie.cli.app"


def enter(word: str, arguments: Sequence[str]) -> int:
    """Run the command `word`, which is in ROOMS; its exit status."""
    return importlib.import_module(ROOMS[word]).main(arguments)


def enter_for_people(arguments: Sequence[str]) -> int:
    """Run any other command; its exit status."""
    return importlib.import_module(ROOM_FOR_PEOPLE).main(arguments)
