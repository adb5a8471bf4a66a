"""MLX kernels, each beside its plain-MLX definition. Imports nothing but mlx; `few_rows.c` is for CPUs."""
