"""Better settings for training networks, and how many labels are enough."""
