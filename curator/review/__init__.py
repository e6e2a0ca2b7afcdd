"""Queues and review sessions, without a screen."""
