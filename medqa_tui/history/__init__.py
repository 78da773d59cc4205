"""Questions and answers of this machine's user, in SQLite, for nobody else."""
