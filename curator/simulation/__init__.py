"""The whole process replayed on known labels."""
