"""Screens: one a tab, and the small ones that open over them. No tab knows another."""

from __future__ import annotations
