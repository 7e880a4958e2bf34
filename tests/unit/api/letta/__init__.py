"""Tests of the compatible wire."""
