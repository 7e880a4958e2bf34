"""Planted bugs: what each checker must catch, and within how many seeds. Nothing in `kelpie` knows of them."""
