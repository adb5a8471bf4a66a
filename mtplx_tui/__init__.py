"""Everything a person or a client touches: the app, the commands, the link to the engine."""
