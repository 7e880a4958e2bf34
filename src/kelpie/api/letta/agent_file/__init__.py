"""Agent files (`.af`): agents with all that they are made of, as one JSON text, out of one server and into another.

There are two forms. The second, which is written unless the first is asked for, keeps agents, blocks, tools, folders
and so on in lists beside each other, which name each other by short ids (`agent-0`, `block-3`); the first has one agent
with its blocks, tools and messages inside (`first_form.py` turns either into the other). `gathering.py` looks up what
goes along and `writing.py` writes it (`surroundings.py` folders, groups and tool servers); `reading.py` makes what a
file holds (`settling.py` the same); `rows.py` translates messages. What a file says and this server has no words for is
kept beside what was made (`likeness.py`), so that a file which comes in goes out as it was.
"""
