"""Floor 3: one owner per address, bounded queues, durable events."""
