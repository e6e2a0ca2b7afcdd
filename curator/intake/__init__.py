"""Images and people's labels come in: add, label, group, relocate."""
