"""Labels, folds, promotion, bounds, metrics: pure functions, and the words all rooms share."""
