"""Unit tests of floor 4, llm."""
