"""Vocabulary, values, files and text that every other folder uses."""
