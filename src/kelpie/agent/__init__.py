"""Floor 5: the turn, decided purely and performed in one loop."""
