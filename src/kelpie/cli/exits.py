"""Exit statuses, so that scripts and service units can tell what happened. Broken errors bring their own (70-79)."""

from kelpie.errors import Broken, InvalidInput, KelpieError, Unavailable

OK = 0
PROBLEM = 1  # the command ran, and what it found is not good
USAGE = 2  # a flag, a variable or an argument is wrong
UNAVAILABLE = 69  # something is not there now: a server, the disk
INTERRUPTED = 130  # Ctrl-C, as shells have it
OUTPUT_CLOSED = 141  # the reader of our output has gone, as shells have it


def status_of(error: KelpieError) -> int:
    """What the process ends with because of `error`."""
    match error:
        case Broken():
            return error.exit_status
        case Unavailable():
            return UNAVAILABLE
        case InvalidInput():
            return USAGE
        case _:
            return PROBLEM
