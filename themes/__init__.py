"""Palettes: one TOML file each, read by `mtplx_tui.theming`. Data only."""
