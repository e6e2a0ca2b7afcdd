"""Bounds, calibration, metrics and folds: pure functions on NumPy arrays."""
