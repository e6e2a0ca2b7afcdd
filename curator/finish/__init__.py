"""One guided loop to a pool in which every image has a label and the error is checked."""
