"""Is this model usable, and why not: judged from files alone, with the standard library."""
