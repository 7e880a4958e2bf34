"""Moving in from a Letta V1 server (0.11 to 0.16): from its PostgreSQL, from its API, or from its agent files.

`database.py` and `server.py` give its tables; `kinds.py`, `agents.py` and the like say what a row becomes; `secrets.py`
opens what it encrypted; `command.py` is `kelpie import letta`.
"""
