"""Arrays beside the catalogue that can be rebuilt: features, packed pixels, previews, scores."""
