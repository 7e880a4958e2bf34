"""Floor 4: our own words for model calls, and the codecs to the providers' words."""
