"""Finding the passages for a question: BM25, dense vectors, fusion, re-ranking."""
