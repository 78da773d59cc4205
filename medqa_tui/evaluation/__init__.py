"""Measuring with standard tools; imported by the `eval` commands alone."""
