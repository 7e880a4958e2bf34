"""One test file per room, one folder per floor."""
