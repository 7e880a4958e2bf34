"""Floor 2: which node may act, until when."""
