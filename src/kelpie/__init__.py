"""Kelpie: a runtime for stateful AI agents. Refuses to run with assertions off: they are part of it."""

if not __debug__:
    raise SystemExit("kelpie: refuses to run under `python -O`: its assertions guard stored data")

__version__ = "0.1.0"
