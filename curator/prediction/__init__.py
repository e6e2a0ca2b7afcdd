"""Use the current model: predict, evaluate, inspect, export the model."""
