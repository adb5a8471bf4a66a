"""Conversations: what they are, how they are kept on disk, and the desk they are held at."""
