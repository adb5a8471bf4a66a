"""Models: which there are on this machine, and where."""
