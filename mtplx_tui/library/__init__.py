"""Models: where they are."""
