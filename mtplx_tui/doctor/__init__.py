"""What is wrong here, and what to do about it. Knows no screen; changes nothing it looks at."""
