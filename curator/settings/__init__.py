"""The sections of `curator.toml`, and the keys of the review."""
