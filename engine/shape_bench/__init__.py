"""Measures what a model of a real shape costs here, ours beside stock mlx-lm's: `python -P -m engine.shape_bench`."""
