"""Tests of floor 3; their doubles are in `build.py`."""
