"""What a workspace holds and how it came about: status, history, HTML report."""
