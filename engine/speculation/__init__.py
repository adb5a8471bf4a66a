"""Draft, verify, accept, commit. Knows no family of models, no text and no process."""
