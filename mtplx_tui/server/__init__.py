"""The HTTP server: the OpenAI and Anthropic APIs on the app's engine; start reading at `server`."""
