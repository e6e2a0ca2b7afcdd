"""`python -m curator` is the same as the command `curator`."""

from __future__ import annotations

import sys

from curator.cli.main import main

sys.exit(main())
