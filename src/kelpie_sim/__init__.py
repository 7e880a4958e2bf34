"""Deterministic simulation of whole Kelpie clusters: the production code, on simulated seams.

One seed is one run: order of tasks, time, chance, links, faults, all of it. `simulation.py` is where to
start reading, `loop.py` says which order of tasks is drawn and which promises of asyncio are kept, and
`host.py` how a machine is crashed or paused. Nothing in `kelpie` imports this package.
"""
