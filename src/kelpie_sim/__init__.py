"""Deterministic simulation of whole Kelpie clusters: the production code, on simulated seams.

One seed is one run: order of tasks, time, chance, links, faults, all of it. `simulation.py` is where to
start reading, `loop.py` says which order of tasks is drawn and which promises of asyncio are kept, and
`host.py` how a machine is crashed or paused. `play.py` puts whole nodes under a load (`workloads/`), judges them
(`checkers/`), and with planted bugs (`canaries/`) judges the checkers. Nothing in `kelpie` imports this package.
"""
