"""Tests of floor 6."""
