"""Floor 4: what the model may see, and what it learned."""
