"""One suite for every part that claims to be a Models."""
