"""The resident process that holds the models: server, client, lifecycle."""
