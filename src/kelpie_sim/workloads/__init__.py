"""Kinds of load, one file each: what clients do while the faults rage, and what they must have got in the end."""
