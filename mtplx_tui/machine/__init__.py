"""The machine's heat and fans: sensors, the policies over its fans, and their guard. No screen."""
