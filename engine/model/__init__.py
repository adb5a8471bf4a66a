"""Weights and what they make: trunk, head, caches, tokenizer. Knows nothing of speculation."""
