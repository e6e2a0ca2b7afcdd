"""Where work on many images is done: threads of this computer, or a Ray cluster."""
