"""The set-up: one flow of steps, shown by `mtplx-tui start` and by the app at its first run."""
