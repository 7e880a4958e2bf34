"""The `kelpie` command, and the last stop of every error: one sentence, an exit status, a traceback only for a bug."""

import os
import sys
from collections.abc import Sequence

from kelpie.cli.exits import INTERRUPTED, OUTPUT_CLOSED, status_of
from kelpie.cli.rooms import ROOMS, enter, enter_for_people
from kelpie.errors import KelpieError


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the named command; the exit status."""
    word = arguments[0] if arguments else ""
    try:
        return enter(word, arguments[1:]) if word in ROOMS else enter_for_people(arguments)
    except KelpieError as error:
        print(f"kelpie: {error.sentence}", file=sys.stderr)
        return status_of(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; without this the interpreter would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED


if __name__ == "__main__":
    main()
