"""Encoders, heads and training: everything that needs torch."""

import os

# Threads that wait by spinning burn whole cores, and on a busy machine they bring one another
# to a standstill: a fit of one second took twenty. Has to be said before OpenMP is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
