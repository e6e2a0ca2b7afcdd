"""The screens for review in a terminal."""
