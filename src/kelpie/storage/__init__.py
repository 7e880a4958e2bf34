"""Floor 1: durable state behind one small contract."""
