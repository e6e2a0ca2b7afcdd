"""From files to image records."""
