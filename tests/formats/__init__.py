"""One small data directory per storage format; the code of today opens them all."""
