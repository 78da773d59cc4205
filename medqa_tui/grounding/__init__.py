"""Checking an answer against its evidence: citations, support, confidence, abstention."""
