"""What the retired server answered, as shapes: which keys, of which types, null or not. No texts of its."""
