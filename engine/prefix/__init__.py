"""What was read before and may be the beginning of a later prompt."""
