"""Manifests and folders: written, read, compared, imported."""
