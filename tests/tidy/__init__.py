"""The tidy test: the rules of the house that a machine can check, each shown to catch what it forbids."""
