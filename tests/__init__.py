"""Everything that proves Kelpie right; `unit` mirrors src, the other packages see it from outside."""
