"""Which models exist, how they are fetched, verified, recorded and activated."""
