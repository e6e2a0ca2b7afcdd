"""What was computed once and is kept beside the catalogue: previews and features."""
