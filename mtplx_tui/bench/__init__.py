"""Measures depths against plain decoding, in one run, and tells what is noise."""

from __future__ import annotations
