"""Commands, options and models by the tab key, in bash, zsh and fish."""

from __future__ import annotations
