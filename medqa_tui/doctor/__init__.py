"""What this installation is like, what is wrong with it, and what to type."""
