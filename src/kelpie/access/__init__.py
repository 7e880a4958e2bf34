"""Floor 2: what is secret, and who may see it."""
