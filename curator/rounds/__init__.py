"""Train, score, promote, revoke, measure, roll back."""
