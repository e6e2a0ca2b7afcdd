"""What serves pages needs: who may connect, and how many."""
