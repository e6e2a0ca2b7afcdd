"""Encoders, heads and training: everything that needs torch."""
