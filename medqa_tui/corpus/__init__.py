"""Where evidence comes from: readers, cleaning, chunking and the passage store."""
