"""Choosing what a person looks at next, and reading their answers; no screen here."""
