"""Unit tests of floor 7."""
