"""Floor 7: the command line.

`main.py` finds the room of a command and ends every error in one sentence and an exit status. `serve` is
reached without importing typer or rich, which cost a tenth of a second; the commands for people are in
`app.py`. They talk to a server only over its public HTTP API (`client.py`), as any other program would.
"""
