"""Images to features or packed pixels, each once."""
