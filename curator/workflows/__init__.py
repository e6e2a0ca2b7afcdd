"""One use case a file; the only place where the rooms in the middle meet."""
