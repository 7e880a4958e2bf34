"""The access room: secrets."""
