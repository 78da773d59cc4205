"""Readers of files: each turns one kind of file into rows, and says why a row cannot be read."""
