"""Queues and sessions, without a screen."""
