"""An image's current label: one rule as Python, SQL and arrays, tested against each other."""
