"""Opening an image, the same way everywhere."""
