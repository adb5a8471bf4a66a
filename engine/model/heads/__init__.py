"""MTP heads, one file a family."""
