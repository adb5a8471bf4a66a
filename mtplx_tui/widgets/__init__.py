"""Widgets: what screens are made of. They know no screen."""

from __future__ import annotations
