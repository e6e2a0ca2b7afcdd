"""Check a workspace and its machine: verify, doctor, config."""
