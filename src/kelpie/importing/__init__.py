"""Moving in: what another server kept, read once and written as what it is here.

`move.py` takes one kind after the other, row by row, and keeps a journal of how far it got in the same commits, so that
a move that was killed goes on where it stood. `report.py` says what came along, what did not, and why. A room below
knows one server's schema: how to read it (`sources`) and what its rows become (`kinds`).
"""
