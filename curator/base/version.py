"""The version of curator, written once: packaging, manifests and `--version` read it here."""

from __future__ import annotations

__version__ = "0.1.0"
