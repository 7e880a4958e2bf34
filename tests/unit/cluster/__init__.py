"""Tests of the pure rules between nodes."""
