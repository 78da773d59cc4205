"""Writing an answer from evidence: prompt, local models, and the extractive fall."""
