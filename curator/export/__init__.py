"""Writing manifests: formats, escapes, order, and files that are whole or not there."""
